//! Cars, trucks, drones and animals.

use super::shape::Shape;
use super::space::{Dice, Vec3, v};

const PAINTS: [Vec3; 9] = [
    v(0.85, 0.85, 0.85),
    v(0.05, 0.05, 0.06),
    v(0.4, 0.42, 0.45),
    v(0.5, 0.05, 0.05),
    v(0.06, 0.12, 0.4),
    v(0.1, 0.25, 0.15),
    v(0.75, 0.6, 0.1),
    v(0.6, 0.62, 0.65),
    v(0.35, 0.25, 0.15),
];
const GLASS: Vec3 = v(0.06, 0.08, 0.1);
const TYRE: Vec3 = v(0.03, 0.03, 0.03);

fn wheels(shapes: &mut Vec<Shape>, half: f32, axles: &[f32], radius: f32) {
    for z in axles {
        for x in [-half, half] {
            let (at, thick) = (v(x * 0.97, radius, *z), v(0.05, 0.0, 0.0));
            shapes.push(Shape::Capsule(at - thick, radius, at + thick, radius, TYRE));
            let rim = at + v(0.08 * x.signum(), 0.0, 0.0);
            shapes.push(Shape::Capsule(rim, radius * 0.55, rim, radius * 0.55, v(0.4, 0.4, 0.42)));
        }
    }
}

fn windows(shapes: &mut Vec<Shape>, base: Vec3, half: (f32, f32), height: f32, top: (f32, f32)) {
    // A hair outside of the cabin.
    let ring = |share: f32, y: f32| {
        let (w, l) = (half.0 * (1.0 - share * (1.0 - top.0)) * 1.01, half.1 * (1.0 - share * (1.0 - top.1)) * 1.01);
        [v(-w, y, -l), v(w, y, -l), v(w, y, l), v(-w, y, l)].map(|p| p + base)
    };
    let (low, high) = (ring(0.15, height * 0.15), ring(0.85, height * 0.85));
    let ([a, b, c, d], [e, f, g, h]) = (low, high);
    for side in [[a, b, f, e], [b, c, g, f], [c, d, h, g], [d, a, e, h]] {
        let middle = side.iter().fold(Vec3::default(), |sum, p| sum + *p * 0.25);
        let panes = side.iter().map(|p| middle.mix(*p, 0.86)).collect();
        shapes.push(Shape::Polygon(panes, GLASS, 1.0));
    }
}

fn lights(shapes: &mut Vec<Shape>, half: f32, y: f32, front: f32, back: f32) {
    for x in [-half * 0.75, half * 0.75] {
        shapes.push(Shape::Capsule(v(x, y, front), 0.09, v(x * 0.9, y, front), 0.09, v(1.1, 1.1, 0.95)));
        shapes.push(Shape::Capsule(v(x, y, back), 0.08, v(x * 0.9, y, back), 0.08, v(0.7, 0.03, 0.03)));
    }
}

/// A car at the origin, its front towards z.
pub fn car(dice: &Dice) -> Vec<Shape> {
    let paint = dice.pick(&PAINTS) * dice.range(0.8, 1.15);
    let (half, long, sill) = (dice.range(0.82, 0.95), dice.range(1.8, 2.4), dice.range(0.22, 0.35));
    let (belt, roof) = (dice.range(0.62, 0.75), dice.range(0.48, 0.7));
    let mut shapes = vec![Shape::Prism(v(0.0, sill, 0.0), (half, long), belt, 0.0, (0.97, 0.96), paint)];
    let estate = dice.chance(0.4);
    let (cabin, back) = if estate { (long * 0.68, -long * 0.25) } else { (long * 0.5, -long * 0.1) };
    let top = if estate { (0.85, 0.8) } else { (0.82, 0.65) };
    let base = v(0.0, sill + belt, back);
    shapes.push(Shape::Prism(base, (half * 0.95, cabin), roof, 0.0, top, paint));
    windows(&mut shapes, base, (half * 0.95, cabin), roof, top);
    wheels(&mut shapes, half, &[-long * 0.62, long * 0.62], dice.range(0.3, 0.37));
    lights(&mut shapes, half, sill + belt * 0.6, long, -long);
    shapes
}

/// A lorry, a van or a tanker at the origin, its front towards z.
pub fn truck(dice: &Dice) -> Vec<Shape> {
    let (cab, load) = (dice.pick(&PAINTS), dice.pick(&PAINTS) * dice.range(0.8, 1.1));
    let van = dice.chance(0.35);
    let (half, long) = if van { (1.0, dice.range(2.4, 3.0)) } else { (1.25, dice.range(3.2, 5.5)) };
    let height = if van { dice.range(1.6, 2.0) } else { dice.range(2.1, 2.9) };
    let front = if van { long * 0.35 } else { 1.0 };
    let mut shapes = Vec::new();
    let nose = v(0.0, 0.45, long - front);
    let (cab_height, top) = if van { (height * 0.85, (0.92, 0.7)) } else { (dice.range(1.9, 2.5), (0.97, 0.9)) };
    shapes.push(Shape::Prism(nose, (half * 0.98, front), cab_height, 0.0, top, cab));
    let pane = v(0.0, 0.45 + cab_height * 0.42, long - front);
    windows(&mut shapes, pane, (half * 0.96, front * 0.97), cab_height * 0.5, top);
    let bed = v(0.0, 0.75, -front);
    match dice.below(if van { 1 } else { 4 }) {
        0 | 1 => {
            let paint = if van { cab } else { load };
            shapes.push(Shape::Prism(bed - v(0.0, 0.25, 0.0), (half, long - front), height, 0.0, (1.0, 1.0), paint));
        }
        2 => {
            let ends = [v(0.0, 1.7, long - 2.2 * front), v(0.0, 1.7, -long + 0.4)];
            shapes.push(Shape::Capsule(ends[0], 0.95, ends[1], 0.95, load));
            shapes.push(Shape::Prism(bed, (half * 0.9, long - front), 0.25, 0.0, (1.0, 1.0), TYRE));
        }
        _ => {
            shapes.push(Shape::Prism(bed, (half, long - front), 0.7, 0.0, (1.0, 1.0), load));
            shapes.push(Shape::Prism(
                bed + v(0.0, 0.7, 0.0),
                (half * 0.9, long - front),
                0.5,
                0.0,
                (0.4, 0.8),
                load * 0.6,
            ));
        }
    }
    wheels(&mut shapes, half, &[long - front, -long * 0.45, -long * 0.75], if van { 0.36 } else { 0.5 });
    lights(&mut shapes, half, 0.8, long, -long);
    shapes
}

/// A multicopter around the origin.
pub fn drone(dice: &Dice) -> Vec<Shape> {
    let (reach, paint) =
        (dice.range(0.18, 0.65), dice.pick(&[v(0.05, 0.05, 0.06), v(0.8, 0.8, 0.8), v(0.25, 0.25, 0.28)]));
    let arms = dice.pick(&[4u8, 4, 4, 6]);
    let mut shapes =
        vec![Shape::Capsule(v(0.0, 0.0, -0.25 * reach), 0.2 * reach, v(0.0, 0.0, 0.25 * reach), 0.2 * reach, paint)];
    for arm in 0..arms {
        let angle = std::f32::consts::TAU * (f32::from(arm) + 0.5) / f32::from(arms);
        let tip = v(angle.sin() * reach, 0.05 * reach, angle.cos() * reach);
        shapes.push(Shape::Capsule(Vec3::default(), 0.06 * reach, tip, 0.05 * reach, paint));
        let motor = tip + v(0.0, 0.1 * reach, 0.0);
        shapes.push(Shape::Capsule(tip, 0.07 * reach, motor, 0.07 * reach, TYRE));
        let spin = dice.range(0.0, 3.1);
        let blade = v(spin.sin(), 0.0, spin.cos()) * (0.45 * reach);
        shapes.push(Shape::Capsule(motor - blade, 0.02 * reach, motor + blade, 0.02 * reach, paint * 0.7));
    }
    for x in [-0.3 * reach, 0.3 * reach] {
        let foot = v(x * 1.4, -0.45 * reach, 0.0);
        shapes.push(Shape::Capsule(v(x, 0.0, 0.0), 0.035 * reach, foot, 0.035 * reach, paint));
        let skid = v(0.0, 0.0, 0.35 * reach);
        shapes.push(Shape::Capsule(foot - skid, 0.03 * reach, foot + skid, 0.03 * reach, paint));
    }
    if dice.chance(0.5) {
        let eye = v(0.0, -0.25 * reach, 0.2 * reach);
        shapes.push(Shape::Capsule(eye, 0.12 * reach, eye, 0.12 * reach, TYRE));
    }
    shapes
}

/// A dog, a fox, a deer, a sheep, a horse or a cow at the origin, its head towards z.
pub fn animal(dice: &Dice) -> Vec<Shape> {
    let kinds =
        [(0.3, 0.75, 0.1), (0.55, 0.9, 0.15), (0.9, 1.3, 0.2), (0.7, 1.1, 0.3), (1.4, 1.9, 0.32), (1.2, 1.8, 0.4)];
    let (tall, long, fat) = dice.pick(&kinds);
    let scale = dice.range(0.85, 1.15);
    let (tall, half, fat) = (tall * scale, long * scale * 0.38, fat * scale);
    let coat = dice
        .shade(v(0.08, 0.05, 0.03), v(0.5, 0.38, 0.25))
        .mix(dice.pick(&[v(0.85, 0.85, 0.8), v(0.05, 0.05, 0.05)]), dice.range(0.0, 0.7));
    let (legs, step) = (tall * 0.6, dice.range(0.0, std::f32::consts::TAU));
    let back = tall - fat * 0.8;
    let (tail, chest) = (v(0.0, back, -half), v(0.0, back, half));
    let mut shapes = vec![Shape::Capsule(tail, fat, chest, fat * 1.08, coat)];
    for (index, z) in [half, half, -half, -half].into_iter().enumerate() {
        let (x, swing) = if index % 2 == 0 { (fat * 0.55, step.sin()) } else { (-fat * 0.55, -step.sin()) };
        let hip = v(x, legs, z);
        let knee = v(x, legs * 0.5, z + 0.12 * tall * swing);
        let foot = v(x, 0.03, z + 0.22 * tall * swing);
        shapes.push(Shape::Capsule(hip, fat * 0.42, knee, fat * 0.25, coat * 0.9));
        shapes.push(Shape::Capsule(knee, fat * 0.24, foot, fat * 0.18, coat * 0.7));
    }
    let grazing = dice.chance(0.3);
    let head = if grazing { v(0.0, tall * 0.25, half + tall * 0.45) } else { v(0.0, tall * 1.2, half + tall * 0.32) };
    shapes.push(Shape::Capsule(chest, fat * 0.7, head, fat * 0.4, coat));
    let muzzle = head + v(0.0, if grazing { -0.1 } else { -0.05 }, 0.24) * tall;
    shapes.push(Shape::Capsule(head, fat * 0.46, muzzle, fat * 0.26, coat));
    for x in [-fat * 0.35, fat * 0.35] {
        shapes.push(Shape::Capsule(
            head + v(x, fat * 0.3, 0.0),
            fat * 0.14,
            head + v(x * 1.4, fat * 0.75, -0.02),
            fat * 0.05,
            coat * 0.8,
        ));
    }
    let end = tail + v(0.0, if dice.chance(0.5) { 0.12 } else { -0.3 } * tall, -0.25 * tall);
    shapes.push(Shape::Capsule(tail, fat * 0.16, end, fat * 0.1, coat));
    shapes
}
