//! Our own operations of networks against what they are defined as, and second looks.

use std::time::Duration;

use edge_node::detect::Detection;
use edge_node::detect::chain::{Votes, part};
use edge_node::detect::head::{decode, decode_maps};
use edge_node::detect::letterbox::Fit;
use edge_node::detect::manifest::Entry;
use kernels::{Place, colour, convolve, largest, rgb, rgb_planes, yuv_planes};
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

/// The things of [`outputs`] in a head with a grid of stride 4 besides, and somebody of 3 × 9 pixels in it at (13, 22): the
/// fourth column and the sixth row of sixteen.
fn finer() -> (Entry, Vec<f32>) {
    let [(_, mut entry, output), ..] = outputs();
    let (mut fine, cell) = (vec![0.0; 16 * 8 * 7], (5 * 16 + 3) * 7);
    fine[cell..cell + 6].copy_from_slice(&[0.25, 0.5, (3.0f32 / 4.0).ln(), (9.0f32 / 4.0).ln(), 0.9, 0.9]);
    fine.extend(output);
    entry.strides = vec![4, 8, 16, 32];
    (entry, fine)
}

#[test]
fn a_grid_of_stride_four_comes_before_the_others() {
    let (entry, output) = finer();
    let found = decode(&entry, &output, Fit { ratio: 1.0, left: 0.0, top: 0.0 }, 0.3);
    let boxes: Vec<[f32; 4]> = found.iter().map(|d| d.box_xyxy_px.map(f32::round)).collect();
    let coarser = [[20.0, 7.0, 40.0, 17.0], [48.0, 14.0, 54.0, 26.0]];
    assert_eq!((found.len(), found[0].class, boxes[0]), (3, 0, [12.0, 18.0, 15.0, 27.0]), "{found:?}");
    assert_eq!(boxes[1..], coarser);
}

#[test]
fn a_head_before_its_sigmoids_says_what_it_says_behind_them() {
    let [(_, entry, output), ..] = outputs();
    for ((entry, output), things) in [((entry, output), 2), (finer(), 3)] {
        says_the_same(&entry, &output, things);
    }
}

/// Whether rows and their planes before the sigmoids give the same, so many things of score 0.35 and more.
fn says_the_same(entry: &Entry, output: &[f32], things: usize) {
    let (classes, cells) = (entry.classes.len(), output.len() / (5 + entry.classes.len()));
    let logit = |value: f32| (value / (1.0 - value)).ln();
    let mut maps = Vec::new();
    let mut first = 0;
    // Planes of boxes, objectness, classes of each grid, out of rows of one cell each.
    for count in entry.strides.iter().map(|stride| (64 / stride * (32 / stride)) as usize) {
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
        let (rows, planes) = (decode(entry, output, fit, least), decode_maps(entry, &slices(&maps), fit, least));
        assert!(least != 0.35 || rows.len() == things, "{rows:?}");
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
        let found = decode_maps(entry, &slices(&broken), fit, 0.3);
        assert!(found.iter().all(|d| d.score.is_finite() && d.box_xyxy_px.iter().all(|v| v.is_finite())), "{bad}");
    }
    assert!(
        decode_maps(entry, &[], fit, 0.3).is_empty() && decode_maps(entry, &slices(&maps[1..4]), fit, 0.3).is_empty()
    );
}

#[test]
fn a_picture_lies_in_an_input_where_each_of_its_pixels_belongs() {
    let (width, height) = (16, 12);
    for ((across, down), at) in
        [((16, 12), (0, 0)), ((13, 7), (0, 0)), ((13, 7), (1, 3)), ((6, 12), (5, 0)), ((1, 1), (2, 1))]
    {
        let planes: Vec<Vec<u8>> = (1..4).map(|seed| random(seed, across * down)).collect();
        let pixel = |n: usize| [planes[0][n], planes[1][n], planes[2][n]];
        let pixels: Vec<u8> = (0..across * down).flat_map(pixel).collect();
        for (bgr, block) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
            let place = Place { input: (width, height), at, block, bgr, scale: 0.5 };
            let coloured = |n: usize| colour(planes[0][n], planes[1][n], planes[2][n]);
            for (video, of) in [(false, &pixel as &dyn Fn(usize) -> [u8; 3]), (true, &coloured)] {
                let mut found = vec![-1.0; width * height * 3];
                let all: [&[u8]; 3] = [&planes[0], &planes[1], &planes[2]];
                let written = if video {
                    yuv_planes(all, across, &place, &mut found)
                } else {
                    rgb_planes(&pixels, across, &place, &mut found)
                };
                written.unwrap();
                let mut expected = vec![-1.0; width * height * 3];
                for n in 0..across * down {
                    let (x, y) = (at.0 + n % across, at.1 + n / across);
                    for (channel, value) in of(n).into_iter().enumerate() {
                        let channel = if bgr { 2 - channel } else { channel };
                        // Places in a block: (row, column) (0,0), (1,0), (0,1), (1,1).
                        let plane = (x % block * block + y % block) * 3 + channel;
                        let cell = (y / block) * (width / block) + x / block;
                        expected[plane * (width * height / (block * block)) + cell] = f32::from(value) * 0.5;
                    }
                }
                assert_eq!(found, expected, "{across} x {down} at {at:?}, bgr {bgr}, block {block}, video {video}");
            }
        }
        let beyond = Place { input: (width, height), at: (at.0, height), block: 1, bgr: false, scale: 1.0 };
        assert_eq!(rgb_planes(&pixels, across, &beyond, &mut vec![0.0; width * height * 3]), None);
    }
}

#[test]
fn colours_of_video_are_those_of_its_chroma_at_odd_sizes_and_end_where_bytes_are_missing() {
    for (width, height) in [(1, 1), (2, 2), (5, 3), (4, 5)] {
        let (across, below) = (usize::div_ceil(width, 2), usize::div_ceil(height, 2));
        let (luma, u, v) = (random(1, width * height), random(2, across * below), random(3, across * below));
        let found = rgb([&luma, &u, &v], width);
        let chroma = |n: usize| n / width / 2 * across + n % width / 2;
        let expected = (0..width * height).flat_map(|n| colour(luma[n], u[chroma(n)], v[chroma(n)]));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{width} x {height}");
        let short = rgb([&luma, &u[..across * (below - 1)], &v], width);
        assert_eq!(short, found[..width * 3 * 2 * (below - 1)], "{width} x {height}");
    }
    assert_eq!((colour(16, 128, 128), colour(235, 128, 128)), ([0; 3], [255; 3]), "studio range");
}
