//! One scene: who is where, and the picture of it with its labels at a time.

use super::canvas::{Canvas, Light, whole};
use super::figure::{Person, Pose};
use super::machines::{animal, car, drone, truck};
use super::place::{Ground, Sky, furniture, light};
use super::shape::Shape;
use super::space::{Dice, Lens, Vec3, v};
use super::weather::{Grade, Shot};

/// Labels, by class number.
pub const CLASSES: [&str; 5] = ["person", "car", "truck", "drone", "animal"];
/// Less of a thing than this share in sight is no label but a place where nobody is asked.
const SEEN_LEAST: f32 = 0.35;
/// A thing that differs from what is around it by less than this, of 1, and the noise, is no label either.
const CONTRAST_LEAST: f32 = 0.03;

/// A thing with a label.
#[derive(Debug, Clone)]
struct Actor {
    class: usize,
    body: Body,
    at: Vec3,
    yaw: f32,
    speed_mps: f32,
    room_m: f32,
}

#[derive(Debug, Clone)]
enum Body {
    Person(Box<Person>),
    Solid(Vec<Shape>),
}

/// Where a thing is in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Left, top, right, bottom of what is in sight, shares of the picture's sides.
    pub box_xyxy: [f32; 4],
    /// Share of it in sight: what of it is in the picture and not hidden.
    pub seen: f32,
    /// Of people.
    pub posture: Option<&'static str>,
}

impl Label {
    /// Whether enough of it is in sight to ask a detector for it.
    pub fn counts(&self) -> bool {
        self.seen >= SEEN_LEAST
    }
}

/// A scene.
#[derive(Debug)]
pub struct Scene {
    size: (usize, usize),
    lens: Lens,
    light: Light,
    sky: Sky,
    ground: Ground,
    furniture: Vec<Vec<Shape>>,
    actors: Vec<Actor>,
    grade: Grade,
    dice: Dice,
}

const SKIES: [Sky; 10] = [
    Sky::Day,
    Sky::Day,
    Sky::Day,
    Sky::Overcast,
    Sky::Overcast,
    Sky::Dusk,
    Sky::Night,
    Sky::Night,
    Sky::Rain,
    Sky::Rain,
];

impl Scene {
    /// The scene of a seed, in pictures of a size.
    pub fn still(seed: u64, size: (usize, usize)) -> Self {
        let mut scene = Self::empty(seed, size, None);
        if scene.dice.chance(0.92) {
            let people = 1 + scene.dice.below(8);
            for _ in 0..people {
                scene.add_person();
            }
            for _ in 0..scene.dice.below(7) {
                scene.add_other();
            }
        }
        scene
    }

    /// A scene in which people walk from one side to the other, one after the other with stretches of nobody.
    pub fn clip(seed: u64, size: (usize, usize), seconds: f32) -> Self {
        let mut scene = Self::empty(seed, size, Some(Sky::Day));
        let mut starts = 3.0;
        while starts < seconds {
            let mut person = Person::draw(&scene.dice);
            person.pose = Pose::Walk;
            let (z, speed_mps) = (scene.dice.range(7.0, 12.0), scene.dice.range(1.2, 1.7));
            let half = z * size.0 as f32 / scene.lens.focal_px / 2.0 + 1.5;
            let (side, yaw) = if scene.dice.chance(0.5) { (-half, 0.5) } else { (half, -0.5) };
            let yaw = yaw * std::f32::consts::PI;
            let before = v(yaw.sin(), 0.0, yaw.cos()) * (-speed_mps * starts);
            let at = v(side, 0.0, z) + before;
            scene.actors.push(Actor {
                class: 0,
                body: Body::Person(Box::new(person)),
                at,
                yaw,
                speed_mps,
                room_m: 0.5,
            });
            starts += 2.0 * half / speed_mps + scene.dice.range(4.0, 6.0);
        }
        scene
    }

    fn empty(seed: u64, size: (usize, usize), sky: Option<Sky>) -> Self {
        let dice = Dice::new(seed);
        let sky = sky.unwrap_or_else(|| dice.pick(&SKIES));
        let canvas = (size.0 as f32 * 2.0, size.1 as f32 * 2.0);
        let lens =
            Lens::new(dice.range(2.2, 8.0), dice.range(0.08, 0.5), 0.03 * dice.about(), dice.range(0.9, 1.7), canvas);
        let (light, ground, grade) = (light(&dice, sky), Ground::draw(&dice, sky), Grade::draw(&dice, sky));
        let furniture = furniture(&dice);
        Self { size, lens, light, sky, ground, furniture, actors: Vec::new(), grade, dice }
    }

    fn add_person(&mut self) {
        let person = Person::draw(&self.dice);
        // As many small ones as large ones: from twelve pixels of 180 to most of the picture.
        let share = 0.06 * (0.75f32 / 0.06).powf(self.dice.range(0.0, 1.0));
        let at = self.spot(person.height_m, share);
        let yaw = self.dice.range(0.0, std::f32::consts::TAU);
        self.place(Actor { class: 0, body: Body::Person(Box::new(person)), at, yaw, speed_mps: 0.0, room_m: 0.5 });
    }

    fn add_other(&mut self) {
        let dice = &self.dice;
        let (class, shapes, tall, room_m) = match dice.below(8) {
            0 | 1 => (1, car(dice), 1.5, 2.4),
            2 | 3 => (2, truck(dice), 2.8, 4.5),
            4 | 5 => (4, animal(dice), 0.9, 1.0),
            _ => (3, drone(dice), 0.5, 0.6),
        };
        let share = 0.05 * (0.7f32 / 0.05).powf(dice.range(0.0, 1.0));
        let mut at = self.spot(tall, share);
        let dice = &self.dice;
        if class == 3 {
            let away = dice.range(3.0, 14.0);
            at = v(away * dice.range(-0.55, 0.55), self.lens.height_m + away * dice.range(-0.25, 0.3), away);
        }
        let yaw = dice.range(0.0, std::f32::consts::TAU);
        self.place(Actor { class, body: Body::Solid(shapes), at, yaw, speed_mps: 0.0, room_m });
    }

    /// A place on the ground where something of this height has about this share of the picture's.
    fn spot(&self, tall_m: f32, share: f32) -> Vec3 {
        let away = self.lens.distance_m(tall_m, share * self.size.1 as f32 * 2.0);
        let across = self.size.0 as f32 / self.lens.focal_px * away;
        v(self.dice.range(-across, across), 0.0, away)
    }

    /// Puts it there unless somebody is.
    fn place(&mut self, actor: Actor) {
        let clear = |other: &Actor| {
            let apart = other.at - actor.at;
            apart.dot(apart) > (other.room_m + actor.room_m).powi(2) || other.class == 3
        };
        if self.actors.iter().all(clear) {
            self.actors.push(actor);
        }
    }

    /// The picture at a time, seconds from the start, and what is in it.
    pub fn at(&self, time_s: f32) -> (Shot, Vec<Label>) {
        let (width, height) = (self.size.0 * 2, self.size.1 * 2);
        let mut canvas = Canvas::new((width, height), self.lens, self.light);
        self.ground.fill(&mut canvas);
        let actors: Vec<(usize, Vec<Shape>)> =
            self.actors.iter().map(|actor| (actor.class, actor.shapes(time_s))).collect();
        if matches!(self.sky, Sky::Day) {
            for shape in self.furniture.iter().chain(actors.iter().map(|(_, shapes)| shapes)).flatten() {
                shape.cast(&mut canvas);
            }
            canvas.shade(0.55);
        }
        canvas.surroundings();
        // What hides in part is drawn after what it may hide: fences come last.
        let (first, last) = self.furniture.split_at(self.furniture.len().saturating_sub(1));
        for shape in first.iter().flatten() {
            shape.draw(&mut canvas);
        }
        let owners: Vec<(u16, &Actor)> = actors
            .iter()
            .zip(&self.actors)
            .map(|((_, shapes), actor)| {
                let owner = canvas.begin();
                shapes.iter().for_each(|shape| shape.draw(&mut canvas));
                (owner, actor)
            })
            .collect();
        canvas.surroundings();
        for shape in last.iter().flatten() {
            shape.draw(&mut canvas);
        }
        let shot = self.grade.finish(&canvas, &self.dice);
        let clear =
            |label: &Label, owner: u16| contrast(&canvas, &shot, label, owner) >= CONTRAST_LEAST + self.grade.noise();
        let labels = owners.iter().filter_map(|(owner, actor)| {
            let label = Label { posture: actor.posture(), ..label(&canvas, *owner, actor.class)? };
            // What melts into its surroundings is there, but nobody can be asked to see it.
            Some(if clear(&label, *owner) { label } else { Label { seen: 0.0, ..label } })
        });
        let labels = labels.collect();
        (shot, labels)
    }
}

impl Actor {
    fn posture(&self) -> Option<&'static str> {
        match &self.body {
            Body::Person(person) => Some(person.pose.posture()),
            Body::Solid(_) => None,
        }
    }

    fn shapes(&self, time_s: f32) -> Vec<Shape> {
        let ahead = v(self.yaw.sin(), 0.0, self.yaw.cos()) * (self.speed_mps * time_s);
        let shapes = match &self.body {
            Body::Person(person) => {
                // Two steps of 0.7 m are one turn of the phase.
                let phase = person.phase + self.speed_mps * time_s / 1.4 * std::f32::consts::TAU;
                person.stepped(phase).shapes()
            }
            Body::Solid(shapes) => shapes.clone(),
        };
        shapes.into_iter().map(|shape| shape.placed(self.at + ahead, self.yaw)).collect()
    }
}

/// How much a thing's pixels differ from the mean around it: mean absolute difference of brightness, 0 to 1.
fn contrast(canvas: &Canvas, shot: &Shot, label: &Label, owner: u16) -> f32 {
    let [left, top, right, bottom] = label.box_xyxy;
    let (width, height) = (shot.width as f32, shot.height as f32);
    let (wide, high) = ((right - left) * 0.3, (bottom - top) * 0.3);
    let (x0, x1) = (whole((left - wide) * width, shot.width), whole((right + wide) * width + 1.0, shot.width));
    let (y0, y1) = (whole((top - high) * height, shot.height), whole((bottom + high) * height + 1.0, shot.height));
    let (mut own, mut around) = (Vec::new(), Vec::new());
    for (y, row) in shot.rgb.chunks_exact(shot.width * 3).enumerate().take(y1).skip(y0) {
        let owners = canvas.pixels.chunks_exact(canvas.width).nth(y * 2).unwrap_or_default();
        for (pixel, drawn) in row.chunks_exact(3).zip(owners.iter().step_by(2)).take(x1).skip(x0) {
            let level = pixel.iter().map(|byte| f32::from(*byte)).sum::<f32>() / 765.0;
            if drawn.owner == owner { own.push(level) } else { around.push(level) }
        }
    }
    let mean = around.iter().sum::<f32>() / around.len().max(1) as f32;
    own.iter().map(|level| (level - mean).abs()).sum::<f32>() / own.len().max(1) as f32
}

fn label(canvas: &Canvas, owner: u16, class: usize) -> Option<Label> {
    let (mut count, mut low, mut high) = (0u32, (usize::MAX, usize::MAX), (0, 0));
    for (y, row) in canvas.pixels.chunks_exact(canvas.width).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, pixel)| pixel.owner == owner) {
            count += 1;
            low = (low.0.min(x), low.1.min(y));
            high = (high.0.max(x + 1), high.1.max(y + 1));
        }
    }
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let seen = count as f32 / canvas.area(owner).max(1) as f32;
    let box_xyxy = [low.0 as f32 / width, low.1 as f32 / height, high.0 as f32 / width, high.1 as f32 / height];
    (count > 8).then_some(Label { class, box_xyxy, seen, posture: None })
}
