//! Our own operations of networks against what they are defined as, and second looks.

use std::time::Duration;

use edge_node::detect::Detection;
use edge_node::detect::chain::{Votes, part};
use edge_node::detect::head::{decode, decode_maps};
use edge_node::detect::letterbox::Fit;
use kernels::{convolve, largest};
use shared::units::Uptime;

use crate::seeing::{outputs, random};

/// Numbers from -1 to 1.
fn values(seed: u32, count: usize) -> Vec<f32> {
    random(seed, count).into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0).collect()
}

#[test]
fn a_depthwise_convolution_is_the_sum_that_it_is_defined_as() {
    for (height, width) in [(1, 1), (1, 7), (5, 1), (6, 8), (7, 9), (13, 13), (26, 15)] {
        for stride in [1, 2] {
            let (source, kernel) = (values(7, height * width), values(3, 9));
            let kernel: &[f32; 9] = kernel.as_slice().try_into().unwrap();
            let (down, across) = ((height - 1) / stride + 1, (width - 1) / stride + 1);
            let mut found = vec![0.0; down * across];
            convolve(&source, (height, width), kernel, 0.25, stride, &mut found, across, &mut Vec::new()).unwrap();
            for (at, found) in found.iter().enumerate() {
                let (y, x) = (at / across * stride, at % across * stride);
                let value = |n: usize| {
                    let (row, column) = ((y + n / 3).checked_sub(1), (x + n % 3).checked_sub(1));
                    let inside = row.filter(|row| *row < height).zip(column.filter(|column| *column < width));
                    inside.map_or(0.0, |(row, column)| source[row * width + column])
                };
                let expected = 0.25 + (0..9).map(|n| kernel[n] * value(n)).sum::<f32>();
                assert!((found - expected).abs() < 1e-5, "{height} x {width}, stride {stride}, at {y}, {x}");
            }
        }
    }
}

#[test]
fn a_square_pool_is_the_largest_of_its_square() {
    for (height, width) in [(1, 1), (1, 9), (4, 3), (13, 13), (7, 20)] {
        for side in [3, 5, 9] {
            let source = values(11, height * width);
            let (mut found, mut sideways) = (vec![0.0; height * width], vec![0.0; height * width]);
            largest(&source, (height, width), side, &mut found, &mut sideways);
            for (at, found) in found.iter().enumerate() {
                let (y, x, around) = (at / width, at % width, side / 2);
                let near = |a: usize, b: usize| a.abs_diff(b) <= around;
                let square = (0..height * width).filter(|n| near(n / width, y) && near(n % width, x));
                let expected = square.map(|n| source[n]).fold(f32::MIN, f32::max);
                assert_eq!(*found, expected, "{height} x {width}, side {side}, at {y}, {x}");
            }
        }
    }
}

#[test]
fn a_second_look_is_told_once_it_is_sure_and_when_it_changes() {
    let at = |tenths: u64| Uptime(tenths * 100_000);
    let mut votes = Votes::default();
    assert_eq!(votes.due(Duration::from_millis(500), at(0)), Some(Uptime::default()));
    votes.tried(at(0));
    assert_eq!(votes.step(vec![0.9, 0.1]), None, "one look is a doubt");
    assert_eq!(
        (votes.due(Duration::from_millis(500), at(4)), votes.due(Duration::from_millis(500), at(5))),
        (None, Some(at(0)))
    );
    assert_eq!(votes.step(vec![0.9, 0.1]), None);
    assert!(matches!(votes.step(vec![0.6, 0.4]), Some((0, score)) if (score - 0.8).abs() < 1e-6));
    assert_eq!(votes.step(vec![0.9, 0.1]), None, "it is told once");
    let told: Vec<_> = (4..9).map(|_| votes.step(vec![0.1, 0.9])).collect();
    let changed: Vec<_> = told.iter().flatten().map(|(class, _)| *class).collect();
    assert_eq!(changed, [1], "and once more when it has changed: {told:?}");
    // Neither the one nor the other, and what gives other numbers than before.
    let mut torn = Votes::default();
    assert!((0..9).all(|_| torn.step(vec![0.5, 0.5]).is_none()));
    assert!(torn.step(Vec::new()).is_none());
}

#[test]
fn a_crop_is_what_is_around_a_box_and_inside_the_picture() {
    assert_eq!(part(&[100.0, 50.0, 140.0, 150.0], (640, 360)), Some((84, 34, 72, 132)));
    assert_eq!(part(&[-20.0, -20.0, 60.0, 60.0], (640, 360)), Some((0, 0, 72, 72)));
    assert_eq!(part(&[600.0, 340.0, 900.0, 800.0], (640, 360)), Some((530, 270, 110, 90)));
    for nothing in [[10.0, 10.0, 14.0, 20.0], [700.0, 0.0, 800.0, 100.0], [50.0, 50.0, 20.0, 90.0], [f32::NAN; 4]] {
        assert_eq!(part(&nothing, (640, 360)), None, "{nothing:?}");
    }
}

fn slices(maps: &[Vec<f32>]) -> Vec<&[f32]> {
    maps.iter().map(Vec::as_slice).collect()
}

#[test]
fn a_head_before_its_sigmoids_says_what_it_says_behind_them() {
    let [(_, entry, output), ..] = outputs();
    let (classes, cells) = (entry.classes.len(), output.len() / (5 + entry.classes.len()));
    let logit = |value: f32| (value / (1.0 - value)).ln();
    let mut maps = Vec::new();
    let mut first = 0;
    // Planes of boxes, objectness, classes of each grid, out of rows of one cell each.
    for count in [8 * 4, 4 * 2, 2] {
        let plane = |column: usize| (first..first + count).map(move |cell| (cell, column));
        let value = |(cell, column): (usize, usize)| output[cell * (5 + classes) + column];
        maps.push((0..4).flat_map(plane).map(value).collect::<Vec<f32>>());
        maps.push(plane(4).map(value).map(logit).collect());
        maps.push((5..5 + classes).flat_map(plane).map(value).map(logit).collect());
        first += count;
    }
    assert_eq!(first, cells);
    let fit = Fit { ratio: 0.5, left: 0.0, top: 4.0 };
    for least in [0.0, 0.01, 0.35, 0.7, 1.0] {
        let (rows, planes) = (decode(&entry, &output, fit, least), decode_maps(&entry, &slices(&maps), fit, least));
        let sure = |found: &[Detection]| found.iter().filter(|d| d.score > 0.005).copied().collect::<Vec<_>>();
        let (rows, planes) = (sure(&rows), sure(&planes));
        assert_eq!(rows.len(), planes.len(), "{least}: {rows:?} {planes:?}");
        for (row, plane) in rows.iter().zip(&planes) {
            assert_eq!(row.class, plane.class);
            assert!((row.score - plane.score).abs() < 1e-4, "{row:?} {plane:?}");
            assert!(
                row.box_xyxy_px.iter().zip(plane.box_xyxy_px).all(|(a, b)| (a - b).abs() < 1e-2),
                "{row:?} {plane:?}"
            );
        }
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let broken: Vec<Vec<f32>> = maps.iter().map(|map| vec![bad; map.len()]).collect();
        let found = decode_maps(&entry, &slices(&broken), fit, 0.3);
        assert!(found.iter().all(|d| d.score.is_finite() && d.box_xyxy_px.iter().all(|v| v.is_finite())), "{bad}");
    }
    assert!(
        decode_maps(&entry, &[], fit, 0.3).is_empty() && decode_maps(&entry, &slices(&maps[1..4]), fit, 0.3).is_empty()
    );
}
