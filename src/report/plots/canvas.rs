//! A drawing area of plotters in theme colours instead of fixed ones.
//!
//! plotters knows RGB alone. Everything is therefore drawn in sentinel colours, one per [`Ink`], and the finished text
//! is gone through once: sentinels become CSS custom properties, so that a plot follows the reader's light or dark mode.

use std::fmt::Write as _;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::PlotError;
use super::number::clipped;

/// What something is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ink {
    /// Text.
    Text,
    /// Text of lesser weight.
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
    /// The page.
    Paper,
    /// A step of the heat scale.
    Heat(usize),
    /// Text on a step of the heat scale.
    OnHeat(usize),
    /// A resolved cell that is faster than inline.
    Faster,
    /// The hatching of what is not resolved.
    Hatch,
}

/// Steps of the heat scale.
pub const HEAT_STEPS: usize = 8;
/// From this step on, text stands on the far end of the scale.
const FAR_STEP: usize = 5;

impl Ink {
    /// The sentinel. Its first two bytes are a mark that no other colour has.
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
            Ink::OnHeat(step) if step < FAR_STEP => 10,
            Ink::OnHeat(_) => 11,
            Ink::Heat(step) => 16 + step.min(HEAT_STEPS - 1) as u8,
        };
        RGBColor(1, 2, code)
    }

    fn of_code(code: u8, id: &str) -> Option<String> {
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

/// Where a text lies from its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The point is at the left.
    Start,
    /// The point is in the middle.
    Middle,
    /// The point is at the right.
    End,
}

/// A surface in pixels. Coordinates are whole: at 100% they are pixels of the page.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// Texts that show on hover, by the number of the marker.
    titles: Vec<String>,
}

/// The mark of an element with a hover text: a circle of this radius plus the number of the text.
const TITLED: u32 = 1_000_000;

impl Canvas<'_> {
    /// A filled rectangle.
    pub fn rect(&self, from: (i32, i32), to: (i32, i32), ink: Ink) -> Result<(), PlotError> {
        self.done(self.area.draw(&Rectangle::new([from, to], ink.rgb().filled())))
    }

    /// A filled rectangle with a text that shows on hover.
    pub fn titled(&mut self, from: (i32, i32), to: (i32, i32), ink: Ink, title: String) -> Result<(), PlotError> {
        let number = u32::try_from(self.titles.len()).map_err(|_| PlotError::Draw("too many cells".to_owned()))?;
        self.titles.push(title);
        // A circle of no use follows the rectangle and carries the number of the text in its radius: plotters gives
        // elements no names.
        self.rect(from, to, ink)?;
        self.done(self.area.draw(&Circle::new(from, TITLED + number, Ink::Paper.rgb().filled())))
    }

    /// A line of a width in pixels.
    pub fn line(&self, from: (i32, i32), to: (i32, i32), ink: Ink, width: u32) -> Result<(), PlotError> {
        let style = ShapeStyle { color: ink.rgb().to_rgba(), filled: false, stroke_width: width };
        self.done(self.area.draw(&PathElement::new([from, to], style)))
    }

    /// A dot, filled.
    pub fn dot(&self, at: (i32, i32), radius: u32, ink: Ink) -> Result<(), PlotError> {
        self.done(self.area.draw(&Circle::new(at, radius, ink.rgb().filled())))
    }

    /// A dot, hollow.
    pub fn ring(&self, at: (i32, i32), radius: u32, ink: Ink) -> Result<(), PlotError> {
        let style = ShapeStyle { color: ink.rgb().to_rgba(), filled: false, stroke_width: 1 };
        self.done(self.area.draw(&Circle::new(at, radius, style)))
    }

    /// The dot of a median: filled where it is resolved, hollow where it is not.
    pub fn median(&self, at: (i32, i32), radius: u32, resolved: bool) -> Result<(), PlotError> {
        self.dot(at, radius + 1, Ink::Paper)?;
        self.dot(at, radius, Ink::Accent)?;
        if resolved { Ok(()) } else { self.dot(at, radius.saturating_sub(2), Ink::Paper) }
    }

    /// A line of text, its middle at the height of the point.
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
        // plotters takes the height of a line, SVG the size of the font, and plotters-svg divides by 1.24 between them.
        let font = ("system-ui", f64::from(size) * 1.24).into_font().transform(turn);
        let style = TextStyle { pos: Pos::new(h_pos, VPos::Center), ..font.color(&ink.rgb()) };
        self.done(self.area.draw_text(text, &style, at))
    }

    fn done<E: std::fmt::Display>(&self, result: Result<(), E>) -> Result<(), PlotError> {
        result.map_err(|error| PlotError::Draw(error.to_string()))
    }
}

/// Draws on a surface of `size` pixels and returns the SVG text in theme colours, with title and description. `id`
/// makes the names in it unique in a page. `standalone` gives it a namespace and the theme's own style.
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
         role=\"img\" aria-labelledby=\"{id}-t {id}-d\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"var(--text)\">\
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
    theme(&drawn, Short { id, standalone }, &titles, &mut out);
    out.push_str("</svg>\n");
    Ok(out)
}

/// How elements are written.
#[derive(Clone, Copy)]
struct Short<'a> {
    /// The plot's name, in that of its hatching.
    id: &'a str,
    /// XML, whose values all have quotes; in a page they go without where they may (HTML, 13.1.2.3).
    standalone: bool,
}

/// Goes through plotters' elements, one per line, and writes them short and in theme colours.
fn theme(drawn: &str, short: Short, titles: &[String], out: &mut String) {
    let mut lines = drawn.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(tag) = line.strip_prefix('<') else {
            out.push_str(line.trim());
            continue;
        };
        if tag.starts_with("svg") || tag.starts_with("/svg") {
            continue;
        }
        if tag.starts_with('/') {
            out.push_str(line);
            continue;
        }
        if let Some((_, look)) = titled(tag, lines.peek(), titles) {
            // Rectangles of one look, one after the other, are a group.
            let mut run = vec![line];
            while let Some(marker) = lines.next() {
                run.push(marker);
                let mut ahead = lines.clone();
                let next = ahead.next().and_then(|line| titled(line.strip_prefix('<')?, ahead.peek(), titles));
                if next.is_none_or(|(_, it)| it != look) {
                    break;
                }
                run.extend(lines.next());
            }
            rectangles(&run, look, short, titles, out);
            continue;
        }
        if let Some((first, look)) = stroke(tag) {
            // So are lines, each once.
            let mut strokes = vec![first];
            while let Some((next, _)) =
                lines.peek().and_then(|line| stroke(line.strip_prefix('<')?)).filter(|it| it.1 == look)
            {
                if !strokes.contains(&next) {
                    strokes.push(next);
                }
                lines.next();
            }
            let path: String = strokes.into_iter().map(segment).collect();
            element(&format!("path d=\"{path}\" {look}/>"), short, out);
            continue;
        }
        let Some((first, look)) = dot(tag) else {
            element(tag, short, out);
            continue;
        };
        // Dots of one look, one after the other, are one path.
        let mut dots = vec![first];
        while let Some((next, _)) = lines.peek().and_then(|line| dot(line.strip_prefix('<')?)).filter(|it| it.1 == look)
        {
            dots.push(next);
            lines.next();
        }
        if dots.len() < 3 {
            dots.iter().for_each(|[x, y]| element(&format!("circle cx=\"{x}\" cy=\"{y}\" {look}"), short, out));
        } else {
            path(&dots, look, short, out);
        }
    }
}

/// The text of a rectangle that a marker follows, and how the rectangle looks.
fn titled<'a, 't>(tag: &'a str, next: Option<&&str>, titles: &'t [String]) -> Option<(&'t str, &'a str)> {
    let title = titles.get(hover(next?.strip_prefix('<')?)?)?;
    let (_, look) = tag.strip_prefix("rect ")?.split_once(" opacity=")?;
    Some((title, look.split_once(' ')?.1))
}

/// Rectangles of one look, each followed by its marker, and each with a text that shows on hover.
fn rectangles(run: &[&str], look: &str, short: Short, titles: &[String], out: &mut String) {
    if let Some(look) = look.strip_suffix("/>") {
        element(&format!("g {look}>"), short, out);
    }
    for pair in run.chunks(2) {
        let &[rectangle, marker] = pair else { continue };
        let Some([x, y, width, height]) = sides(rectangle) else { continue };
        element(&format!("path d=\"M{x} {y}h{width}v{height}H{x}z\">"), short, out);
        let title = marker.strip_prefix('<').and_then(hover).and_then(|number| titles.get(number));
        let _ = write!(out, "<title>{}</title></path>", escaped(&clipped(title.map_or("", String::as_str), 300)));
    }
    out.push_str("</g>");
}

/// Left, top, width and height of a rectangle.
fn sides(rectangle: &str) -> Option<[i32; 4]> {
    let mut values = rectangle.split('"').skip(1).step_by(2).map(str::parse);
    let mut next = || values.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

/// The ends of a straight line, and how it looks.
fn stroke(tag: &str) -> Option<([[i32; 2]; 2], &str)> {
    let (look, points) = tag.strip_prefix("polyline ")?.split_once(" points=\"")?;
    let point = |it: &str| it.split_once(',').and_then(|(x, y)| Some([x.parse().ok()?, y.parse().ok()?]));
    let points: Vec<[i32; 2]> = points.split_once('"')?.0.split_whitespace().map(point).collect::<Option<_>>()?;
    Some((<[_; 2]>::try_from(points).ok()?, look))
}

/// A straight line, as a part of a path.
fn segment([[x, y], [to_x, to_y]]: [[i32; 2]; 2]) -> String {
    match (x == to_x, y == to_y) {
        (_, true) => format!("M{x} {y}H{to_x}"),
        (true, false) => format!("M{x} {y}V{to_y}"),
        (false, false) => format!("M{x} {y}L{to_x} {to_y}"),
    }
}

/// The middle of a circle without a hover text, and the rest of its tag.
fn dot(tag: &str) -> Option<([i32; 2], &str)> {
    let rest = tag.strip_prefix("circle cx=\"").filter(|_| hover(tag).is_none())?;
    let (x, rest) = rest.split_once("\" cy=\"")?;
    let (y, look) = rest.split_once("\" ")?;
    Some(([x.parse().ok()?, y.parse().ok()?], look))
}

/// Circles of one look as one path: each a line of no length with a round end.
fn path(dots: &[[i32; 2]], look: &str, short: Short, out: &mut String) {
    let (radius, look) = look.strip_prefix("r=\"").and_then(|it| it.split_once("\" ")).unwrap_or(("2", look));
    let radius: i32 = radius.parse().unwrap_or(2);
    let mut at = String::new();
    for [x, y] in dots {
        let _ = write!(at, "M{x} {y}h0");
    }
    let (look, width) = (look.replace("fill=", "stroke="), 2 * radius);
    element(&format!("path d=\"{at}\" stroke-linecap=\"round\" stroke-width=\"{width}\" {look}"), short, out);
}

fn hover(tag: &str) -> Option<usize> {
    let rest = tag.strip_prefix("circle ")?;
    let radius: u32 = rest.split_once(" r=\"")?.1.split_once('"')?.0.parse().ok()?;
    radius.checked_sub(TITLED).map(|number| number as usize)
}

fn element(tag: &str, Short { id, standalone }: Short, out: &mut String) {
    let mut bare = false;
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    out.push('<');
    out.push_str(name);
    while let Some((key, after)) = rest.split_once("=\"") {
        let Some((value, after)) = after.split_once('"') else { break };
        rest = after;
        let key = key.trim();
        let default = match key {
            "opacity" => value == "1",
            "stroke" => value == "none",
            "stroke-width" => value == "1",
            "text-anchor" => value == "start",
            "font-family" => true,
            // The plot's own.
            "font-size" => value.parse().is_ok_and(|size: f64| (11.5..12.5).contains(&size)),
            "fill" => name == "text" && value == "#010200",
            _ => false,
        };
        if default {
            continue;
        }
        let value = match value.strip_prefix("#0102").and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => Ink::of_code(code, id).unwrap_or_else(|| value.to_owned()),
            None if key == "font-size" => value.parse().map_or_else(|_| value.to_owned(), |v: f64| format!("{:.0}", v)),
            None => value.trim().to_owned(),
        };
        bare = !standalone
            && !value.is_empty()
            && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.#()".contains(&c));
        let _ = if bare { write!(out, " {key}={value}") } else { write!(out, " {key}=\"{value}\"") };
    }
    // A slash behind a bare value would be a part of it.
    if bare && rest.starts_with('/') {
        out.push(' ');
    }
    out.push_str(rest);
}

/// Text for XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
