//! People: a skeleton with angles, clothes of many colours, poses of work and leisure.

use super::shape::Shape;
use super::space::{Dice, Vec3, v};

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pose {
    /// Stands.
    #[default]
    Stand,
    /// Walks.
    Walk,
    /// Runs.
    Run,
    /// Has gone down on the knees, bent.
    Crouch,
    /// Sits on something low.
    Sit,
    /// Bends over.
    Bend,
    /// Lies on the ground.
    Lie,
    /// Creeps on hands and knees.
    Crawl,
    /// Holds the arms up.
    Wave,
    /// Carries something before the body.
    Carry,
}

impl Pose {
    /// How somebody is held, as the classifier of postures tells it.
    pub const fn posture(self) -> &'static str {
        match self {
            Self::Stand | Self::Walk | Self::Run | Self::Bend | Self::Wave | Self::Carry => "upright",
            Self::Crouch | Self::Sit | Self::Crawl => "low",
            Self::Lie => "lying",
        }
    }
}

/// One person: size, clothes, what it does.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Body height, metres.
    pub height_m: f32,
    /// What it does.
    pub pose: Pose,
    /// Where in its step it is, radians.
    pub phase: f32,
    girth: f32,
    skin: Vec3,
    hair: Vec3,
    shirt: Vec3,
    sleeves: Vec3,
    trousers: Vec3,
    shoes: Vec3,
    stripe: Option<Vec3>,
    helmet: bool,
    pack: bool,
    coat: bool,
    lean: f32,
    arms: (f32, f32),
}

const POSES: [Pose; 16] = [
    Pose::Stand,
    Pose::Stand,
    Pose::Stand,
    Pose::Walk,
    Pose::Walk,
    Pose::Walk,
    Pose::Walk,
    Pose::Run,
    Pose::Run,
    Pose::Crouch,
    Pose::Sit,
    Pose::Bend,
    Pose::Lie,
    Pose::Crawl,
    Pose::Wave,
    Pose::Carry,
];
const SKINS: [Vec3; 4] = [v(0.75, 0.52, 0.42), v(0.55, 0.36, 0.26), v(0.32, 0.2, 0.14), v(0.16, 0.1, 0.07)];
const CLOTHES: [Vec3; 14] = [
    v(0.05, 0.05, 0.06),
    v(0.1, 0.1, 0.12),
    v(0.25, 0.26, 0.28),
    v(0.7, 0.7, 0.7),
    v(0.9, 0.9, 0.88),
    v(0.05, 0.08, 0.3),
    v(0.1, 0.25, 0.6),
    v(0.55, 0.06, 0.06),
    v(0.08, 0.3, 0.12),
    v(0.4, 0.3, 0.18),
    v(0.9, 0.35, 0.05),
    v(0.75, 0.85, 0.1),
    v(0.45, 0.1, 0.35),
    v(0.2, 0.2, 0.08),
];

impl Person {
    /// Somebody.
    pub fn draw(dice: &Dice) -> Self {
        let child = dice.chance(0.05);
        let vest = dice.chance(0.35);
        let shirt = if vest { dice.pick(&[v(0.95, 0.4, 0.03), v(0.8, 0.95, 0.1)]) } else { dice.pick(&CLOTHES) };
        let same = dice.chance(0.6) && !vest;
        Self {
            height_m: if child { dice.range(1.1, 1.45) } else { 1.74 + 0.06 * dice.about() },
            pose: dice.pick(&POSES),
            phase: dice.range(0.0, std::f32::consts::TAU),
            girth: dice.range(0.85, 1.25),
            skin: dice.pick(&SKINS) * dice.range(0.85, 1.15),
            hair: dice.pick(&[v(0.03, 0.02, 0.02), v(0.2, 0.12, 0.06), v(0.5, 0.4, 0.25), v(0.5, 0.5, 0.5)]),
            shirt,
            sleeves: if same { shirt } else { dice.pick(&CLOTHES) },
            trousers: dice.pick(&CLOTHES) * dice.range(0.7, 1.1),
            shoes: dice.pick(&CLOTHES) * 0.6,
            stripe: (vest || dice.chance(0.1)).then_some(v(0.95, 0.95, 0.95)),
            helmet: dice.chance(if vest { 0.7 } else { 0.1 }),
            pack: dice.chance(0.12),
            coat: dice.chance(0.2),
            lean: 0.06 * dice.about(),
            arms: (0.25 * dice.about(), 0.25 * dice.about()),
        }
    }

    /// The same one elsewhere in its step.
    pub const fn stepped(self, phase: f32) -> Self {
        Self { phase, ..self }
    }

    /// What it is made of, standing at the origin and looking along z.
    pub fn shapes(&self) -> Vec<Shape> {
        let angles = self.angles();
        let mut shapes = self.upright(&angles);
        if self.pose == Pose::Lie {
            shapes = shapes.into_iter().map(|shape| laid(shape, self.girth * 0.12)).collect();
        }
        shapes
    }

    fn angles(&self) -> Angles {
        let swing = self.phase.sin();
        let mut a = Angles {
            lean: self.lean,
            hips: [0.06 + self.arms.0 * 0.2, -0.06],
            knees: [0.05, 0.05],
            shoulders: [self.arms.0, self.arms.1],
            elbows: [0.25, 0.2],
            spread: 0.12,
        };
        match self.pose {
            Pose::Stand => {}
            Pose::Walk => {
                a.hips = [0.5 * swing, -0.5 * swing];
                a.knees = [0.25 - 0.25 * swing, 0.25 + 0.25 * swing];
                a.shoulders = [-0.45 * swing, 0.45 * swing];
                a.lean += 0.06;
            }
            Pose::Run => {
                a.hips = [0.25 + 0.8 * swing, 0.25 - 0.8 * swing];
                a.knees = [0.8 - 0.6 * swing, 0.8 + 0.6 * swing];
                a.shoulders = [-0.9 * swing, 0.9 * swing];
                a.elbows = [1.5, 1.5];
                a.lean += 0.2;
            }
            Pose::Crouch => {
                a.hips = [1.7, 1.5];
                a.knees = [2.2, 2.1];
                a.shoulders = [0.9, 0.7];
                a.elbows = [0.7, 0.9];
                a.lean += 0.5;
            }
            Pose::Sit => {
                a.hips = [1.5, 1.45];
                a.knees = [1.4, 1.5];
                a.shoulders = [0.5, 0.5];
                a.elbows = [0.8, 0.8];
            }
            Pose::Bend => {
                a.lean += 1.1;
                a.hips = [0.15, 0.05];
                a.knees = [0.25, 0.2];
                a.shoulders = [1.2, 1.0];
            }
            Pose::Lie => {
                a.hips = [0.3 * swing, 0.2];
                a.knees = [0.4, 0.3 + 0.3 * swing];
                a.spread = 0.5;
            }
            Pose::Crawl => {
                a.lean += 1.35;
                a.hips = [1.2 + 0.3 * swing, 1.2 - 0.3 * swing];
                a.knees = [1.5, 1.5];
                a.shoulders = [1.4 - 0.2 * swing, 1.4 + 0.2 * swing];
                a.elbows = [0.1, 0.1];
            }
            Pose::Wave => {
                a.shoulders = [2.6, if swing > 0.0 { 2.7 } else { 0.1 }];
                a.elbows = [0.4, 0.3];
                a.spread = 0.3;
            }
            Pose::Carry => {
                a.shoulders = [0.8, 0.8];
                a.elbows = [0.9, 0.9];
                a.spread = 0.05;
            }
        }
        a
    }

    fn upright(&self, a: &Angles) -> Vec<Shape> {
        let h = self.height_m;
        let (thigh, shin) = (0.245 * h, 0.245 * h);
        let limb = |angle: f32, length: f32| v(0.0, -angle.cos() * length, angle.sin() * length);
        let legs = [0, 1].map(|side| {
            let (hip, knee) = (a.hips.get(side).copied().unwrap_or(0.0), a.knees.get(side).copied().unwrap_or(0.0));
            let x = if side == 0 { 0.055 * h } else { -0.055 * h };
            let knee_at = v(x, 0.0, 0.0) + limb(hip, thigh);
            (v(x, 0.0, 0.0), knee_at, knee_at + limb(hip - knee, shin))
        });
        let lowest = legs.iter().map(|(_, knee, foot)| foot.y.min(knee.y)).fold(0.0, f32::min);
        let pelvis = v(0.0, 0.03 * h - lowest, 0.0);
        let g = self.girth * h;
        let mut shapes = Vec::with_capacity(24);
        let lower = if self.coat { self.shirt } else { self.trousers };
        for (hip, knee, foot) in legs {
            let (hip, knee, foot) = (hip + pelvis, knee + pelvis, foot + pelvis);
            shapes.push(Shape::Capsule(hip, 0.052 * g, knee, 0.038 * g, lower));
            shapes.push(Shape::Capsule(knee, 0.037 * g, foot, 0.027 * g, self.trousers));
            shapes.push(Shape::Capsule(foot, 0.025 * h, foot + v(0.0, -0.01 * h, 0.085 * h), 0.02 * h, self.shoes));
        }
        let spine = v(0.0, a.lean.cos(), a.lean.sin());
        let chest = pelvis + spine * (0.29 * h);
        let neck = chest + spine * (0.045 * h);
        shapes.push(Shape::Capsule(pelvis, 0.075 * g, pelvis + spine * (0.12 * h), 0.07 * g, self.shirt));
        for x in [-0.045 * g, 0.045 * g] {
            let wide = v(x, 0.0, 0.0);
            shapes.push(Shape::Capsule(
                pelvis + spine * (0.1 * h) + wide * 0.7,
                0.065 * g,
                chest + wide,
                0.06 * g,
                self.shirt,
            ));
        }
        if let Some(stripe) = self.stripe {
            let at = pelvis + spine * (0.13 * h);
            shapes.push(Shape::Capsule(
                at - v(0.05 * g, 0.0, 0.0),
                0.073 * g,
                at + v(0.05 * g, 0.0, 0.0),
                0.073 * g,
                stripe,
            ));
            let above = at + spine * (0.025 * h);
            shapes.push(Shape::Capsule(
                above - v(0.05 * g, 0.0, 0.0),
                0.075 * g,
                above + v(0.05 * g, 0.0, 0.0),
                0.075 * g,
                self.shirt,
            ));
        }
        if self.pack {
            let back = v(0.0, 0.0, -0.1 * h);
            shapes.push(Shape::Capsule(
                pelvis + spine * (0.14 * h) + back,
                0.07 * h,
                chest + back,
                0.06 * h,
                self.sleeves * 0.7,
            ));
        }
        self.arms(a, chest, &mut shapes);
        self.head(neck, spine, &mut shapes);
        shapes
    }

    fn arms(&self, a: &Angles, chest: Vec3, shapes: &mut Vec<Shape>) {
        let h = self.height_m;
        let mut hands = Vec::new();
        for side in [0, 1] {
            let (shoulder, elbow) =
                (a.shoulders.get(side).copied().unwrap_or(0.0), a.elbows.get(side).copied().unwrap_or(0.0));
            let out = if side == 0 { 1.0 } else { -1.0 };
            let limb = |angle: f32, length: f32| {
                let down = v(out * a.spread.sin(), -angle.cos() * a.spread.cos(), angle.sin());
                down.unit() * length
            };
            let root = chest + v(out * 0.115 * h * self.girth.sqrt(), -0.005 * h, 0.0);
            let bend = root + limb(shoulder, 0.175 * h);
            let hand = bend + limb(shoulder + elbow, 0.15 * h);
            shapes.push(Shape::Capsule(root, 0.034 * h, bend, 0.027 * h, self.sleeves));
            shapes.push(Shape::Capsule(bend, 0.026 * h, hand, 0.02 * h, self.sleeves));
            shapes.push(Shape::Capsule(hand, 0.022 * h, hand, 0.022 * h, self.skin));
            hands.push(hand);
        }
        if let (Pose::Carry, [left, right]) = (self.pose, hands.as_slice()) {
            let base = left.mix(*right, 0.5) + v(0.0, -0.1, 0.12);
            shapes.push(Shape::Prism(
                base,
                (0.22, 0.16),
                0.28,
                0.0,
                (1.0, 1.0),
                self.hair.mix(v(0.55, 0.4, 0.25), 0.8),
            ));
        }
    }

    fn head(&self, neck: Vec3, spine: Vec3, shapes: &mut Vec<Shape>) {
        let h = self.height_m;
        let head = neck + spine.mix(v(0.0, 1.0, 0.0), 0.5).unit() * (0.075 * h) + v(0.0, 0.0, 0.01 * h);
        shapes.push(Shape::Capsule(neck - spine * (0.02 * h), 0.032 * h, head, 0.035 * h, self.skin));
        shapes.push(Shape::Capsule(
            head - v(0.0, 0.015 * h, 0.0),
            0.047 * h,
            head + v(0.0, 0.012 * h, 0.0),
            0.052 * h,
            self.skin,
        ));
        let cap = if self.helmet { self.shirt.mix(v(0.95, 0.9, 0.8), 0.6) } else { self.hair };
        let lift = if self.helmet { 0.03 * h } else { 0.02 * h };
        shapes.push(Shape::Capsule(
            head + v(0.0, lift, -0.016 * h),
            0.052 * h,
            head + v(0.0, lift, 0.004 * h),
            0.05 * h,
            cap,
        ));
    }
}

/// Angles of the joints, radians: forwards from hanging down.
#[derive(Debug, Clone, Copy)]
struct Angles {
    lean: f32,
    hips: [f32; 2],
    knees: [f32; 2],
    shoulders: [f32; 2],
    elbows: [f32; 2],
    spread: f32,
}

/// Laid on its back: what was up lies along z.
fn laid(shape: Shape, thick: f32) -> Shape {
    let lay = |p: Vec3| v(p.x, (thick * 1.74 - p.z * 0.9).max(0.03), p.y - 0.85);
    match shape {
        Shape::Capsule(a, ra, b, rb, colour) => Shape::Capsule(lay(a), ra, lay(b), rb, colour),
        Shape::Polygon(corners, colour, cover) => Shape::Polygon(corners.into_iter().map(lay).collect(), colour, cover),
        Shape::Prism(base, half, height, yaw, top, colour) => Shape::Prism(lay(base), half, height, yaw, top, colour),
    }
}
