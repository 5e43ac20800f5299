"""What real collections call the things that our own model knows."""

ALIASES = {
    "bus": "truck", "van": "truck", "lorry": "truck", "dog": "animal", "cat": "animal", "horse": "animal",
    "sheep": "animal", "cow": "animal", "bear": "animal", "deer": "animal", "bird": "animal", "pedestrian": "person",
}
