//! A drawing area of plotters with theme colours instead of fixed ones.
//!
//! plotters supports only RGB colours. So everything is drawn in sentinel colours, one per [`Ink`], and a pass over the
//! finished SVG replaces them with CSS custom properties. A plot therefore follows the reader's light or dark mode.

use std::fmt::Write as _;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::PlotError;
use super::number::clipped;
use super::themed::{Syntax, escaped, write_themed};

/// A colour by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ink {
    /// Text.
    Text,
    /// Less important text.
    Muted,
    /// Lines of a scale.
    Rule,
    /// Median dots and bars of the middle half.
    Accent,
    /// A dot for each op.
    Dot,
    /// The floor.
    Band,
    /// Text on the floor.
    BandText,
    /// Background of the page.
    Paper,
    /// A step of the heat scale.
    Heat(usize),
    /// Text on a step of the heat scale.
    OnHeat(usize),
    /// A resolved cell that is faster than inline.
    Faster,
    /// Hatching of cells that are not resolved.
    Hatch,
}

/// Number of steps of the heat scale.
pub const HEAT_STEPS: usize = 8;
/// First step of the heat scale that is so dark (in light mode) that its text takes the opposite colour.
const FIRST_FAR_STEP: usize = 5;

impl Ink {
    /// The sentinel colour. Its first two bytes are a mark that no other colour has.
    fn rgb(self) -> RGBColor {
        let code = match self {
            Ink::Text => 0,
            Ink::Muted => 1,
            Ink::Rule => 2,
            Ink::Accent => 3,
            Ink::Dot => 4,
            Ink::Band => 5,
            Ink::BandText => 6,
            Ink::Paper => 7,
            Ink::Faster => 8,
            Ink::Hatch => 9,
            Ink::OnHeat(step) if step < FIRST_FAR_STEP => 10,
            Ink::OnHeat(_) => 11,
            Ink::Heat(step) => 16 + step.min(HEAT_STEPS - 1) as u8,
        };
        RGBColor(1, 2, code)
    }

    /// The CSS value for the last byte of a sentinel colour.
    pub(super) fn css_value(code: u8, id: &str) -> Option<String> {
        let name = match code {
            0 => "text",
            1 => "muted",
            2 => "rule",
            3 => "accent",
            4 => "dot",
            5 => "band",
            6 => "band-text",
            7 => "paper",
            8 => "faster",
            9 => return Some(format!("url(#{id}-hatch)")),
            10 => "near",
            11 => "far",
            16..24 => return Some(format!("var(--h{})", code - 16)),
            _ => return None,
        };
        Some(format!("var(--{name})"))
    }
}

/// Horizontal position of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The point is at the left.
    Start,
    /// The point is in the middle.
    Middle,
    /// The point is at the right.
    End,
}

/// A drawing surface. Coordinates are whole pixels of the page.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// Texts that show on hover, by the number of their marker.
    titles: Vec<String>,
}

/// Minimum radius of a marker circle. The radius minus this is the number of a hover text. No drawn circle is as large.
pub(super) const MIN_MARKER_RADIUS: u32 = 1_000_000;

impl Canvas<'_> {
    /// A filled rectangle.
    pub fn rect(&self, from: (i32, i32), to: (i32, i32), ink: Ink) -> Result<(), PlotError> {
        self.done(self.area.draw(&Rectangle::new([from, to], ink.rgb().filled())))
    }

    /// A filled rectangle with a text that shows on hover.
    pub fn titled(&mut self, from: (i32, i32), to: (i32, i32), ink: Ink, title: String) -> Result<(), PlotError> {
        let number = u32::try_from(self.titles.len()).map_err(|_| PlotError::Draw("too many cells".to_owned()))?;
        self.titles.push(title);
        // A marker circle with the number of the text in its radius follows the rectangle, because plotters cannot name
        // elements. The pass over the SVG removes the circle.
        self.rect(from, to, ink)?;
        self.done(self.area.draw(&Circle::new(from, MIN_MARKER_RADIUS + number, Ink::Paper.rgb().filled())))
    }

    /// A straight line. `width` is in pixels.
    pub fn line(&self, from: (i32, i32), to: (i32, i32), ink: Ink, width: u32) -> Result<(), PlotError> {
        let style = ShapeStyle { color: ink.rgb().to_rgba(), filled: false, stroke_width: width };
        self.done(self.area.draw(&PathElement::new([from, to], style)))
    }

    /// A filled dot.
    pub fn dot(&self, at: (i32, i32), radius: u32, ink: Ink) -> Result<(), PlotError> {
        self.done(self.area.draw(&Circle::new(at, radius, ink.rgb().filled())))
    }

    /// A hollow dot.
    pub fn ring(&self, at: (i32, i32), radius: u32, ink: Ink) -> Result<(), PlotError> {
        let style = ShapeStyle { color: ink.rgb().to_rgba(), filled: false, stroke_width: 1 };
        self.done(self.area.draw(&Circle::new(at, radius, style)))
    }

    /// The dot of a median: filled if the median is resolved, hollow otherwise.
    pub fn median(&self, at: (i32, i32), radius: u32, resolved: bool) -> Result<(), PlotError> {
        self.dot(at, radius + 1, Ink::Paper)?;
        self.dot(at, radius, Ink::Accent)?;
        if resolved { Ok(()) } else { self.dot(at, radius.saturating_sub(2), Ink::Paper) }
    }

    /// A line of text, vertically centred on the point.
    pub fn text(&self, text: &str, at: (i32, i32), anchor: Anchor, size: u32, ink: Ink) -> Result<(), PlotError> {
        self.turned(text, at, anchor, size, ink, FontTransform::None)
    }

    /// A line of text that reads upwards, beginning at the point.
    pub fn upwards(&self, text: &str, at: (i32, i32), size: u32, ink: Ink) -> Result<(), PlotError> {
        self.turned(text, at, Anchor::Start, size, ink, FontTransform::Rotate270)
    }

    fn turned(
        &self,
        text: &str,
        at: (i32, i32),
        anchor: Anchor,
        size: u32,
        ink: Ink,
        turn: FontTransform,
    ) -> Result<(), PlotError> {
        let h_pos = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        // plotters takes the height of a line, but SVG takes the size of the font; plotters-svg divides by 1.24.
        let font = ("system-ui", f64::from(size) * 1.24).into_font().transform(turn);
        let style = TextStyle { pos: Pos::new(h_pos, VPos::Center), ..font.color(&ink.rgb()) };
        self.done(self.area.draw_text(text, &style, at))
    }

    fn done<E: std::fmt::Display>(&self, result: Result<(), E>) -> Result<(), PlotError> {
        result.map_err(|error| PlotError::Draw(error.to_string()))
    }
}

/// Draws on a surface of `size` pixels and returns the SVG text in theme colours, with title and description. `id`
/// makes its identifiers unique in a page. `standalone` adds a namespace and the style of the theme.
///
/// # Errors
/// When plotters fails, or when `with` does.
pub fn draw(
    id: &str,
    size: (u32, u32),
    title: &str,
    description: &str,
    standalone: bool,
    with: impl FnOnce(&mut Canvas) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut drawn = String::new();
    let mut titles = Vec::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        let mut canvas = Canvas { area, titles: Vec::new() };
        with(&mut canvas)?;
        titles.append(&mut canvas.titles);
        canvas.area.present().map_err(|error| PlotError::Draw(error.to_string()))?;
    }
    let mut out = String::with_capacity(drawn.len());
    let (width, height) = size;
    let namespace = if standalone { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
    let (title, description) = (escaped(&clipped(title, 200)), escaped(&clipped(description, 4000)));
    let _ = write!(
        out,
        "<svg{namespace} class=\"plot\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-labelledby=\"{id}-t {id}-d\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
         fill=\"var(--text)\">\
         <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>"
    );
    if standalone {
        let _ = write!(out, "<style>{}svg{{background:var(--paper)}}</style>", include_str!("../templates/theme.css"));
    }
    let _ = write!(
        out,
        "<defs><pattern id=\"{id}-hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" fill=\"var(--paper)\"/>\
         <path d=\"M0 0V5\" stroke=\"var(--hatch)\"/></pattern></defs>"
    );
    write_themed(&drawn, Syntax { id, standalone }, &titles, &mut out);
    out.push_str("</svg>\n");
    Ok(out)
}
