//! Bars of a workload's kernels, most expensive first: mechanisms of pv_ops among other kernel options.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::number::{clipped, fixed};
use super::text_width::{label_text, widest};
use super::{Medium, Plot, PlotError};
use crate::report::floors::WORKLOAD_FLOOR;
use crate::report::html::kernel_name;
use crate::report::schema::{Estimate, WorkloadKernel, WorkloadResult};

/// Widths in pixels: of the axis, and of the numbers beside it.
const AXIS: i32 = 404;
const NUMBERS: i32 = 164;
const LABEL_SIZE: u32 = 13;
const TOP: i32 = 30;
const ROW: i32 = 22;

/// A kernel with its overhead in percent.
struct Bar<'a> {
    kernel: &'a WorkloadKernel,
    percent: Estimate,
}

/// A scale from percent to pixels: nearly linear up to one percent, logarithmic beyond, on both sides of zero.
struct PercentScale {
    low: f64,
    high: f64,
    left: i32,
}

impl PercentScale {
    fn of(bars: &[Bar], left: i32) -> Self {
        let finite = |value: f64| if value.is_finite() { value.clamp(-1e4, 1e4) } else { 0.0 };
        let low = bars.iter().map(|bar| finite(bar.percent.low)).fold(-0.5, f64::min);
        let high = bars.iter().map(|bar| finite(bar.percent.high)).fold(1.0, f64::max);
        PercentScale { low: compress(low * 1.1), high: compress(high * 1.1), left }
    }

    fn x(&self, percent: f64) -> i32 {
        let at = if percent.is_finite() { compress(percent).clamp(self.low, self.high) } else { 0.0 };
        self.left + ((at - self.low) / (self.high - self.low) * f64::from(AXIS)).round() as i32
    }

    fn width(&self) -> i32 {
        self.left + AXIS + NUMBERS
    }

    /// The marked values with their pixels. No two marks are closer than `gap` pixels.
    fn marks(&self, gap: i32) -> Vec<(f64, i32)> {
        let steps = [0.0, 1.0, 10.0, 100.0, 1000.0, 5.0, 50.0, 500.0, 0.5, 2.0, 20.0, 200.0];
        let mut marks: Vec<(f64, i32)> = Vec::new();
        for value in steps.into_iter().flat_map(|value| [value, -value]) {
            let inside = (self.low..=self.high).contains(&compress(value));
            let x = self.x(value);
            if inside && marks.iter().all(|(_, other)| (x - other).abs() >= gap) {
                marks.push((value, x));
            }
        }
        marks
    }
}

fn compress(percent: f64) -> f64 {
    (percent / 0.5).asinh()
}

/// The plot of the workload with this index; `None` if nothing was measured.
pub(super) fn plot(index: usize, workload: &WorkloadResult, medium: Medium) -> Result<Option<Plot>, PlotError> {
    let measured = |kernel| Some(Bar { kernel, percent: kernel.overhead_percent? });
    let mut bars: Vec<Bar> = workload.kernels.iter().filter_map(measured).collect();
    bars.sort_by(|a, b| b.percent.estimate.total_cmp(&a.percent.estimate));
    if bars.is_empty() {
        return Ok(None);
    }
    let name = clipped(&workload.name, 40);
    let title = format!("{name}: time above the kernel with inline, in percent");
    let words: Vec<String> = bars.iter().map(|bar| format!("{} {}", label(bar), shown(bar.percent))).collect();
    let floor = workload.floor();
    let description = format!(
        "Mechanisms of pv_ops among other kernel options, most expensive first. \
         The band is the {WORKLOAD_FLOOR}: {}. {}.",
        floor.map_or_else(|| "not known".to_owned(), |floor| format!("\u{b1}{}%", fixed(floor, 2))),
        words.join("; ")
    );
    let bottom = TOP + ROW * bars.len() as i32;
    let scale = PercentScale::of(&bars, widest(bars.iter().map(label), LABEL_SIZE) + 14);
    let size = (scale.width() as u32, (bottom + 42) as u32);
    // The id has an index, because the name comes from an untrusted report.
    let id = format!("workload-{index}");
    let svg = draw(&id, size, &title, &description, medium == Medium::File, |canvas| {
        axis(canvas, floor, &scale, bottom)?;
        bars.iter()
            .enumerate()
            .try_for_each(|(row, bar)| draw_bar(canvas, bar, &scale, TOP + ROW * row as i32 + ROW / 2))
    })?;
    let dashed = |c: char| if c == '_' { '-' } else { c };
    let plain: String =
        workload.name.chars().map(dashed).filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let file_name = format!("workload-{}.svg", if plain.is_empty() { index.to_string() } else { plain });
    Ok(Some(Plot { id, file_name, title, description, svg }))
}

fn label(bar: &Bar) -> String {
    kernel_name(bar.kernel)
}

fn shown(Estimate { estimate, low, high, .. }: Estimate) -> String {
    format!("{} [{}, {}]", fixed(estimate, 2), fixed(low, 2), fixed(high, 2))
}

fn axis(canvas: &mut Canvas, floor: Option<f64>, scale: &PercentScale, bottom: i32) -> Result<(), PlotError> {
    if let Some(floor) = floor {
        canvas.rect((scale.x(-floor), TOP), (scale.x(floor).max(scale.x(-floor) + 1), bottom), Ink::Band)?;
        let words = format!("floor \u{b1}{}%", fixed(floor, 2));
        canvas.text(&words, (scale.x(0.0), TOP - 13), Anchor::Middle, 12, Ink::BandText)?;
    }
    for (value, x) in scale.marks(34) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(
            &fixed(value, if value.abs() == 0.5 { 1 } else { 0 }),
            (x, bottom + 13),
            Anchor::Middle,
            12,
            Ink::Muted,
        )?;
    }
    canvas.text("% [interval]", (scale.width() - 4, TOP - 13), Anchor::End, 12, Ink::Muted)?;
    let middle = scale.left + AXIS / 2;
    let words = "percent above inline, logarithmic beyond 1";
    canvas.text(words, (middle, bottom + 31), Anchor::Middle, 12, Ink::Muted)
}

fn draw_bar(canvas: &mut Canvas, bar: &Bar, scale: &PercentScale, y: i32) -> Result<(), PlotError> {
    let Bar { kernel, percent } = bar;
    let pv = kernel.mechanism.is_some();
    let (ink, words) = if pv { (Ink::Accent, Ink::Text) } else { (Ink::Dot, Ink::Muted) };
    canvas.text(&label_text(&label(bar)), (scale.left - 8, y), Anchor::End, LABEL_SIZE, words)?;
    let (zero, at) = (scale.x(0.0), scale.x(percent.estimate));
    let (from, to) = (zero.min(at), zero.max(at).max(zero.min(at) + 1));
    if kernel.resolved {
        canvas.rect((from, y - 5), (to, y + 5), ink)?;
    } else {
        // A hollow bar is not resolved.
        canvas.rect((from, y - 5), (to, y + 5), ink)?;
        if to - from > 2 {
            canvas.rect((from + 1, y - 4), (to - 1, y + 4), Ink::Paper)?;
        }
    }
    canvas.line((scale.x(percent.low), y), (scale.x(percent.high), y), Ink::Text, 1)?;
    canvas.text(&shown(*percent), (scale.width() - 4, y), Anchor::End, 12, words)
}
