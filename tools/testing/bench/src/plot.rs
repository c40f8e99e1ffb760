// SPDX-License-Identifier: GPL-2.0
//! The plot: the ratio of Rust to C, a bar for each operation.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;

use crate::report::least;
use crate::report::thousands;
use crate::report::Row;

const LINE: i32 = 18;
const LABELS: i32 = 430;
const BARS: i32 = 420;
const FIGURES: i32 = 190;
const TOP: i32 = 56;

/// The ratio at the right end of the bars.
const FULL: f64 = 1.25;

const WITHIN: RGBColor = RGBColor(62, 124, 177);
const MISSED: RGBColor = RGBColor(200, 80, 60);
const GOAL: RGBColor = RGBColor(40, 40, 40);

/// Draws the rows.
pub fn draw(rows: &[Row], path: &Path) -> Result<()> {
    let height = TOP + LINE * rows.len() as i32 + 12;
    let area = SVGBackend::new(path, ((LABELS + BARS + FIGURES) as u32, height as u32));
    let area = area.into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size| ("sans-serif", size).into_font();
    let at = |h, size| font(size).color(&BLACK).pos(Pos::new(h, VPos::Center));
    let x = |ratio: f64| LABELS + (ratio.min(FULL) / FULL * f64::from(BARS)) as i32;

    let title =
        "BPF token: guest instructions of Rust for one of C (less is better; marks are goals)";
    area.draw(&Text::new(title, (12, 16), at(HPos::Left, 15)))?;
    let bottom = height - 8;
    for tenth in [0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25] {
        let line = vec![(x(tenth), TOP - 8), (x(tenth), bottom)];
        area.draw(&PathElement::new(line, BLACK.mix(0.15)))?;
        let label = Text::new(
            tenth.to_string(),
            (x(tenth), TOP - 16),
            at(HPos::Center, 11),
        );
        area.draw(&label)?;
    }
    let heading = Text::new(
        "ratio: Rust / C",
        (LABELS + BARS + 8, TOP - 16),
        at(HPos::Left, 11),
    );
    area.draw(&heading)?;
    for (n, row) in rows.iter().enumerate() {
        let y = TOP + LINE * n as i32 + LINE / 2;
        let color = if row.met { WITHIN } else { MISSED };
        let name = Text::new(row.operation.clone(), (LABELS - 8, y), at(HPos::Right, 12));
        area.draw(&name)?;
        let bar = [(x(0.0), y - 6), (x(row.ratio), y + 6)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        let goal = vec![(x(row.goal), y - 8), (x(row.goal), y + 8)];
        area.draw(&PathElement::new(goal, GOAL.stroke_width(2)))?;
        let figures = format!(
            "{:.3}: {} / {}",
            row.ratio,
            thousands(least(&row.rust)),
            thousands(least(&row.c))
        );
        area.draw(&Text::new(
            figures,
            (LABELS + BARS + 8, y),
            at(HPos::Left, 11),
        ))?;
    }
    area.present()?;
    Ok(())
}
