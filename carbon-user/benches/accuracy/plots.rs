//! Two pictures for `docs/attribution.md`, written as SVG by hand: no font, no library.

use crate::scenarios::{Node, Setting, simulate};
use crate::score::{domain, state, window};
use anyhow::{Context, Result};
use carbon_user::attribution::attribute;
use carbon_user::attribution::static_policy::StaticPolicy;
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 50.0;
const SETTING: Setting = Setting { cpus: 16, workloads: 20, seconds: 1_800, seed: 3 };
const BLOCK: usize = 60;

/// A square with axes from zero.
struct Plot {
    text: String,
    most: (f64, f64),
}

impl Plot {
    fn new(title: &str, axes: (&str, &str), most: (f64, f64)) -> Self {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{}\" y=\"18\" text-anchor=\"middle\" font-size=\"13\">{title}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(13 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            WIDTH / 2.0,
            WIDTH / 2.0,
            HEIGHT - 8.0,
            axes.0,
            HEIGHT / 2.0,
            axes.1,
        );
        let (left, bottom) = (MARGIN, HEIGHT - MARGIN);
        text.push_str(&format!(
            "<path d=\"M{left} 30V{bottom}H{}\" fill=\"none\" stroke=\"black\"/>\n",
            WIDTH - 15.0
        ));
        let mut plot = Self { text, most };
        for step in 0..=4 {
            let part = f64::from(step) / 4.0;
            let (x, y) = plot.place(part * most.0, part * most.1);
            plot.text.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n<text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>\n",
                bottom + 15.0,
                Short(part * most.0),
                left - 5.0,
                y + 4.0,
                Short(part * most.1),
            ));
        }
        plot
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (WIDTH - MARGIN - 15.0) * x / self.most.0;
        let up = (HEIGHT - MARGIN - 30.0) * (y / self.most.1).min(1.0);
        (MARGIN + across, HEIGHT - MARGIN - up)
    }

    fn line(&mut self, points: &[(f64, f64)], style: &str) {
        let places: Vec<String> =
            points.iter().map(|(x, y)| self.place(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(self.text, "<polyline points=\"{}\" fill=\"none\" {style}/>", places.join(" "))
            .unwrap_or_default();
    }

    fn label(&mut self, row: u32, color: &str, text: &str) {
        let y = 40.0 + 15.0 * f64::from(row);
        writeln!(
            self.text,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"{color}\">{text}</text>",
            WIDTH - 20.0
        )
        .unwrap_or_default();
    }

    fn write(self, path: &Path) -> Result<()> {
        std::fs::write(path, self.text + "</svg>\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A number as short as it can be.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

/// Per block and workload: truth, Carbon, CPU time with the true idle power; joules.
fn blocks(node: &Node) -> Vec<Vec<[f64; 3]>> {
    let (domain, mut state) = (domain(node), state(node));
    let mut blocks = vec![vec![[0.0; 3]; node.cpu_s[0].len()]; node.energy_j.len().div_ceil(BLOCK)];
    for number in 0..node.energy_j.len() {
        let attributed = attribute(&window(node, &domain, number), &mut state, StaticPolicy::Separate);
        let block = &mut blocks[number / BLOCK];
        for row in &attributed.workloads {
            block[row.key.cgroup.0 as usize - 2][1] += row.dynamic_energy.joules();
        }
        let busy: f64 = node.cpu_s[number].iter().sum();
        let dynamic = (node.energy_j[number] - node.true_p0_w * node.window_s).max(0.0);
        for (sums, (truth, cpu_s)) in
            block.iter_mut().zip(node.joules[number].iter().zip(&node.cpu_s[number]))
        {
            sums[0] += truth;
            sums[2] += dynamic * cpu_s / busy.max(1e-12);
        }
    }
    blocks
}

/// Writes both pictures.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let node = simulate("additive", SETTING);
    let blocks_of_node = blocks(&node);
    let late = &blocks_of_node[blocks_of_node.len() / 2..];
    let mut plot = Plot::new(
        "learned watts per CPU, second half of 30 minutes",
        ("true W per CPU", "attributed W per CPU"),
        (20.0, 20.0),
    );
    plot.line(&[(0.0, 0.0), (20.0, 20.0)], "stroke=\"#bbb\"");
    for (column, color, name) in [(2, "#d55e00", "by CPU time"), (1, "#0072b2", "Carbon")] {
        for workload in 0..node.cpu_s[0].len() {
            let first = (blocks_of_node.len() / 2) * BLOCK;
            let cpu_s: f64 = node.cpu_s[first..].iter().map(|row| row[workload]).sum();
            let sum = |column: usize| late.iter().map(|block| block[workload][column]).sum::<f64>();
            let (x, y) = plot.place(sum(0) / cpu_s, sum(column) / cpu_s);
            writeln!(plot.text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>")
                .unwrap_or_default();
        }
        plot.label(column as u32, color, name);
    }
    plot.write(&folder.join("attribution-watts.svg"))?;

    let mut plot = Plot::new(
        "error of each minute's joules: solid Carbon, dashed CPU time",
        ("minutes", "per cent of dynamic energy"),
        (30.0, 40.0),
    );
    let colors = [("wake", "#0072b2"), ("concave", "#d55e00"), ("changing", "#009e73")];
    for (row, (name, color)) in colors.into_iter().enumerate() {
        let blocks = blocks(&simulate(name, SETTING));
        for (column, dashes) in [(1, "none"), (2, "3 3")] {
            let points: Vec<(f64, f64)> = blocks
                .iter()
                .enumerate()
                .map(|(minute, block)| {
                    let apart: f64 = block.iter().map(|sums| (sums[column] - sums[0]).abs()).sum();
                    let truth: f64 = block.iter().map(|sums| sums[0]).sum();
                    (minute as f64 + 0.5, 100.0 * apart / truth.max(1e-9))
                })
                .collect();
            plot.line(
                &points,
                &format!("stroke=\"{color}\" stroke-width=\"1.5\" stroke-dasharray=\"{dashes}\""),
            );
        }
        plot.label(row as u32, color, name);
    }
    plot.write(&folder.join("attribution-error.svg"))
}
