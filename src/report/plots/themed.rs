//! The pass over a finished SVG of plotters: shorter elements, hover texts, and theme colours in place of sentinels.

use std::fmt::Write as _;

use super::canvas::{Ink, MIN_MARKER_RADIUS};
use super::number::clipped;

/// Syntax of the written elements.
#[derive(Clone, Copy)]
pub struct Syntax<'a> {
    /// Identifier of the plot, which prefixes that of its hatching.
    pub id: &'a str,
    /// Whether the plot is XML, in which all values need quotes. HTML needs none for simple values (HTML, 13.1.2.3).
    pub standalone: bool,
}

/// Rewrites the elements of plotters, which writes one per line, in a syntax form and in theme colours.
pub fn write_themed(drawn: &str, syntax: Syntax, titles: &[String], out: &mut String) {
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
        if let Some((_, style)) = parse_titled(tag, lines.peek(), titles) {
            // Consecutive rectangles of the same style become one group.
            let mut run = vec![line];
            while let Some(marker) = lines.next() {
                run.push(marker);
                let mut ahead = lines.clone();
                let next = ahead.next().and_then(|line| parse_titled(line.strip_prefix('<')?, ahead.peek(), titles));
                if next.is_none_or(|(_, it)| it != style) {
                    break;
                }
                run.extend(lines.next());
            }
            write_rectangles(&run, style, syntax, titles, out);
            continue;
        }
        if let Some((first, style)) = parse_stroke(tag) {
            // Consecutive lines of the same style become one path, without duplicates.
            let mut strokes = vec![first];
            while let Some((next, _)) =
                lines.peek().and_then(|line| parse_stroke(line.strip_prefix('<')?)).filter(|it| it.1 == style)
            {
                if !strokes.contains(&next) {
                    strokes.push(next);
                }
                lines.next();
            }
            let path: String = strokes.into_iter().map(format_segment).collect();
            write_element(&format!("path d=\"{path}\" {style}/>"), syntax, out);
            continue;
        }
        let Some((first, style)) = parse_dot(tag) else {
            write_element(tag, syntax, out);
            continue;
        };
        // Consecutive dots of the same style become one path.
        let mut dots = vec![first];
        while let Some((next, _)) =
            lines.peek().and_then(|line| parse_dot(line.strip_prefix('<')?)).filter(|it| it.1 == style)
        {
            dots.push(next);
            lines.next();
        }
        if dots.len() < 3 {
            dots.iter().for_each(|[x, y]| write_element(&format!("circle cx=\"{x}\" cy=\"{y}\" {style}"), syntax, out));
        } else {
            write_dots(&dots, style, syntax, out);
        }
    }
}

/// The hover text and the style of a rectangle that a marker follows.
fn parse_titled<'a, 't>(tag: &'a str, next: Option<&&str>, titles: &'t [String]) -> Option<(&'t str, &'a str)> {
    let title = titles.get(parse_marker(next?.strip_prefix('<')?)?)?;
    let (_, style) = tag.strip_prefix("rect ")?.split_once(" opacity=")?;
    Some((title, style.split_once(' ')?.1))
}

/// Writes rectangles of the same style with their hover texts. A marker follows each rectangle in `run`.
fn write_rectangles(run: &[&str], style: &str, syntax: Syntax, titles: &[String], out: &mut String) {
    if let Some(style) = style.strip_suffix("/>") {
        write_element(&format!("g {style}>"), syntax, out);
    }
    for pair in run.chunks(2) {
        let &[rectangle, marker] = pair else { continue };
        let Some([x, y, width, height]) = parse_sides(rectangle) else { continue };
        write_element(&format!("path d=\"M{x} {y}h{width}v{height}H{x}z\">"), syntax, out);
        let title = marker.strip_prefix('<').and_then(parse_marker).and_then(|number| titles.get(number));
        let _ = write!(out, "<title>{}</title></path>", escaped(&clipped(title.map_or("", String::as_str), 300)));
    }
    out.push_str("</g>");
}

/// Left, top, width and height of a rectangle.
fn parse_sides(rectangle: &str) -> Option<[i32; 4]> {
    let mut values = rectangle.split('"').skip(1).step_by(2).map(str::parse);
    let mut next = || values.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

/// The ends and the style of a straight line.
fn parse_stroke(tag: &str) -> Option<([[i32; 2]; 2], &str)> {
    let (style, points) = tag.strip_prefix("polyline ")?.split_once(" points=\"")?;
    let point = |it: &str| it.split_once(',').and_then(|(x, y)| Some([x.parse().ok()?, y.parse().ok()?]));
    let points: Vec<[i32; 2]> = points.split_once('"')?.0.split_whitespace().map(point).collect::<Option<_>>()?;
    Some((<[_; 2]>::try_from(points).ok()?, style))
}

/// A straight line as a part of a path.
fn format_segment([[x, y], [to_x, to_y]]: [[i32; 2]; 2]) -> String {
    match (x == to_x, y == to_y) {
        (_, true) => format!("M{x} {y}H{to_x}"),
        (true, false) => format!("M{x} {y}V{to_y}"),
        (false, false) => format!("M{x} {y}L{to_x} {to_y}"),
    }
}

/// The centre and the style of a circle that is not a marker.
fn parse_dot(tag: &str) -> Option<([i32; 2], &str)> {
    let rest = tag.strip_prefix("circle cx=\"").filter(|_| parse_marker(tag).is_none())?;
    let (x, rest) = rest.split_once("\" cy=\"")?;
    let (y, style) = rest.split_once("\" ")?;
    Some(([x.parse().ok()?, y.parse().ok()?], style))
}

/// Writes circles of the same style as one path. Each is a line of length zero with a round end.
fn write_dots(dots: &[[i32; 2]], style: &str, syntax: Syntax, out: &mut String) {
    let (radius, style) = style.strip_prefix("r=\"").and_then(|it| it.split_once("\" ")).unwrap_or(("2", style));
    let radius: i32 = radius.parse().unwrap_or(2);
    let mut at = String::new();
    for [x, y] in dots {
        let _ = write!(at, "M{x} {y}h0");
    }
    let (style, width) = (style.replace("fill=", "stroke="), 2 * radius);
    write_element(&format!("path d=\"{at}\" stroke-linecap=\"round\" stroke-width=\"{width}\" {style}"), syntax, out);
}

/// The number of the hover text, if the element is a marker circle.
fn parse_marker(tag: &str) -> Option<usize> {
    let rest = tag.strip_prefix("circle ")?;
    let radius: u32 = rest.split_once(" r=\"")?.1.split_once('"')?.0.parse().ok()?;
    radius.checked_sub(MIN_MARKER_RADIUS).map(|number| number as usize)
}

/// Writes an element in theme colours and without attributes at their default.
fn write_element(tag: &str, Syntax { id, standalone }: Syntax, out: &mut String) {
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
            // The size of the whole plot.
            "font-size" => value.parse().is_ok_and(|size: f64| (11.5..12.5).contains(&size)),
            "fill" => name == "text" && value == "#010200",
            _ => false,
        };
        if default {
            continue;
        }
        let value = match value.strip_prefix("#0102").and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => Ink::css_value(code, id).unwrap_or_else(|| value.to_owned()),
            None if key == "font-size" => value.parse().map_or_else(|_| value.to_owned(), |v: f64| format!("{:.0}", v)),
            None => value.trim().to_owned(),
        };
        bare = !standalone
            && !value.is_empty()
            && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.#()".contains(&c));
        let _ = if bare { write!(out, " {key}={value}") } else { write!(out, " {key}=\"{value}\"") };
    }
    // A slash right behind an unquoted value would be a part of it.
    if bare && rest.starts_with('/') {
        out.push(' ');
    }
    out.push_str(rest);
}

/// A text, escaped for XML.
pub fn escaped(text: &str) -> String {
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
