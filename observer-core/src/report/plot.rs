//! The page's plots as SVG, in the colours of the light page; its style sheet
//! recolours them on the dark one.
//!
//! No text that others chose goes into a plot.

use std::fmt;

use jiff::tz::TimeZone;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordu64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{self, GRID, HEAT, MUTED, PAPER, TEXT};
use super::{LabelCounts, Report, words};
use crate::label::Label;

/// Width of every plot in pixels; the page scales it.
const WIDTH: u32 = 900;
/// Height of a row of bars or cells.
const ROW: i32 = 26;
/// Left of the bars, destinations are written; the longest is `[IPv6]:port`.
const DESTINATIONS: i32 = 310;
/// Right of the longest bar, two counts of seven digits are written.
const COUNTS: i32 = 150;
/// Left of the cells, source addresses are written.
const SOURCES: i32 = 260;
const FONT: &str = "sans-serif";
/// As plotters counts; some 11 pixels.
const FONT_SIZE: i32 = 14;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), PlotError>;

/// Why a plot could not be drawn.
#[derive(Debug)]
pub struct PlotError(String);

impl fmt::Display for PlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a plot could not be drawn: {}", self.0)
    }
}

impl std::error::Error for PlotError {}

fn failed(error: impl fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

/// Draws a plot, and says to those who cannot see it what it shows.
fn svg(height: u32, title: &str, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    let Some((head, body)) = text.split_once('>') else { return Err(PlotError("no SVG".to_owned())) };
    // The page's style sheet gives the size.
    let Some((_, size)) = head.split_once("viewBox") else { return Err(PlotError("no viewBox".to_owned())) };
    Ok(format!("<svg role=\"img\" viewBox{size}><title>{title}</title>{body}"))
}

/// Outcomes over time, stacked.
pub(super) fn timeline(report: &Report, tz: &TimeZone) -> Result<String, PlotError> {
    let buckets = &report.timeline.buckets;
    let most = buckets.iter().map(|bucket| bucket.labels.attempts()).max().unwrap_or(0).max(1);
    let at = |index: f64| buckets.get(index.round() as usize).map(|bucket| bucket.start.to_zoned_datetime(tz.clone()));
    let format = if report.timeline.bucket_s >= 86_400 {
        "%d %b"
    } else if report.timeline.bucket_s >= 60 {
        "%H:%M"
    } else {
        "%H:%M:%S"
    };
    svg(260, "Attempts over time by outcome; the table below holds the numbers", |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..buckets.len() as f64, 0..most)
            .map_err(failed)?;
        let label = |index: &f64| at(*index).map(|time| time.strftime(format).to_string()).unwrap_or_default();
        mesh(&mut chart, 10, &label)?;
        for (index, bucket) in buckets.iter().enumerate() {
            let mut bottom = 0;
            for (label, count) in stack(&bucket.labels) {
                let (left, right) = (index as f64 + 0.08, index as f64 + 0.92);
                let bar = Rectangle::new([(left, bottom), (right, bottom + count)], palette::of(label).light.filled());
                chart.draw_series([bar]).map_err(failed)?;
                bottom += count;
            }
        }
        Ok(())
    })
}

/// How long refusals took.
pub(super) fn refusals(report: &Report) -> Result<String, PlotError> {
    let bins = &report.refusal_times;
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    svg(220, "How long refusals took; the table below holds the numbers", |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            // Half of the last label stands beyond the axis.
            .margin_right(36)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..bins.len().max(1) as f64, 0..most)
            .map_err(failed)?;
        let edges: Vec<f64> = bins.iter().map(|bin| bin.from_ms).chain(bins.last().map(|bin| bin.to_ms)).collect();
        let label = |index: &f64| {
            let edge = edges.get(index.round() as usize).filter(|_| (index - index.round()).abs() < 1e-6);
            edge.map(|&ms| words::duration(ms)).unwrap_or_default()
        };
        mesh(&mut chart, edges.len(), &label)?;
        for (index, bin) in bins.iter().enumerate() {
            let ends = [(index as f64 + 0.02, 0), (index as f64 + 0.98, bin.count)];
            let bar = Rectangle::new(ends, palette::of(Label::Refused).light.filled());
            chart.draw_series([bar]).map_err(failed)?;
        }
        Ok(())
    })
}

fn mesh<'a, X>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordu64>>,
    labels: usize,
    label: &dyn Fn(&X::ValueType) -> String,
) -> Drawn
where
    X: Ranged + ValueFormatter<X::ValueType>,
{
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(labels)
        .y_labels(5)
        .x_label_formatter(label)
        .light_line_style(PAPER.light)
        .bold_line_style(GRID.light)
        .axis_style(MUTED.light)
        .label_style((FONT, FONT_SIZE).into_font().color(&MUTED.light))
        .draw()
        .map_err(failed)
}

/// The destinations that failed most, stacked by outcome.
pub(super) fn destinations(report: &Report) -> Result<String, PlotError> {
    let failed_most: Vec<_> = report.destinations.iter().filter(|known| known.failures > 0).take(10).collect();
    let most = failed_most.iter().map(|known| known.attempts).max().unwrap_or(0).max(1);
    let height = failed_most.len() as i32 * ROW + 8;
    svg(height as u32, "Attempts to the destinations that failed most, by outcome", |area| {
        let room = i64::from(WIDTH as i32 - DESTINATIONS - COUNTS);
        let scaled = |count: u64| DESTINATIONS + (i128::from(count) * i128::from(room) / i128::from(most)) as i32;
        for (row, known) in failed_most.iter().enumerate() {
            let top = row as i32 * ROW + 4;
            let middle = top + ROW / 2 - 2;
            write(area, &words::endpoint(known.ip, known.port), (DESTINATIONS - 8, middle), HPos::Right, TEXT.light)?;
            let mut sum = 0;
            for (label, count) in stack(&known.labels) {
                let ends = [(scaled(sum), top), (scaled(sum + count), top + ROW - 6)];
                area.draw(&Rectangle::new(ends, palette::of(label).light.filled())).map_err(failed)?;
                sum += count;
            }
            let numbers = format!("{} of {}", known.failures, known.attempts);
            write(area, &numbers, (scaled(sum) + 6, middle), HPos::Left, MUTED.light)?;
        }
        Ok(())
    })
}

/// Source address × outcome.
pub(super) fn heat_map(report: &Report) -> Result<String, PlotError> {
    let labels = words::labels(report);
    let most = report.sources.iter().flat_map(|source| source.labels.iter()).map(|(_, count)| count).max().unwrap_or(1);
    let cell = (WIDTH as i32 - SOURCES) / labels.len().max(1) as i32;
    let height = (report.sources.len() as i32 + 1) * ROW + 4;
    svg(height as u32, "Attempts by source address and outcome; the table below holds the numbers", |area| {
        for (column, label) in labels.iter().enumerate() {
            let middle = SOURCES + column as i32 * cell + cell / 2;
            // The longest label fills the narrowest column.
            write(area, label.as_str(), (middle, ROW / 2), HPos::Center, palette::of(*label).light)?;
        }
        for (row, source) in report.sources.iter().enumerate() {
            let top = (row as i32 + 1) * ROW;
            let middle = top + ROW / 2;
            write(area, &words::local(source.ip), (SOURCES - 8, middle), HPos::Right, TEXT.light)?;
            for (column, &label) in labels.iter().enumerate() {
                let left = SOURCES + column as i32 * cell;
                let ends = [(left + 1, top + 1), (left + cell - 1, top + ROW - 1)];
                let count = source.labels.of(label);
                let (fill, ink) = heat(count, most);
                let style = fill.map_or(GRID.light.stroke_width(1), |fill| fill.filled());
                area.draw(&Rectangle::new(ends, style)).map_err(failed)?;
                write(area, &count.to_string(), (left + cell / 2, middle), HPos::Center, ink)?;
            }
        }
        Ok(())
    })
}

/// The colours of a cell and of its number: by the logarithm, since one refusal
/// among thousands of successes is what one looks for.
fn heat(count: u64, most: u64) -> (Option<RGBColor>, RGBColor) {
    if count == 0 {
        return (None, MUTED.light);
    }
    let share = ((count as f64).ln_1p() / (most.max(count) as f64).ln_1p() * HEAT.len() as f64).ceil();
    let step = (share as usize).clamp(1, HEAT.len()) - 1;
    (Some(HEAT[step]), palette::on_heat(step))
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos, ink: RGBColor) -> Drawn {
    let style = (FONT, FONT_SIZE).into_font().color(&ink).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style)).map_err(failed)
}

/// Bottom first: success, then failures, the most telling on top.
fn stack(counts: &LabelCounts) -> impl Iterator<Item = (Label, u64)> {
    Label::READ.into_iter().rev().map(|label| (label, counts.of(label))).filter(|&(_, count)| count > 0)
}
