//! The plot of docs/SCALE.md: what a batch costs its driver by the number of executors, in three panels, one below the other; all axes from zero.

use std::fmt::Write;
use tidemill_chaos::scale::Row;

/// What the driver's processor time is to stay below at 100 executors, in milliseconds.
const GOAL_MS: f64 = 5.0;
const WIDTH: f64 = 560.0;
/// Of a panel, with its title and its axis.
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 100.0;
const ABOVE: f64 = 24.0;
const BELOW: f64 = 40.0;

/// A line of a panel: its name, how it is drawn, its points as (executors, value).
struct Line {
    name: &'static str,
    dashes: &'static str,
    points: Vec<(f64, f64)>,
}

/// A picture with the panels; `rows` are those of executors that shuffle by hand, `crowded` those that do so over the network.
pub fn plot(rows: &[Row], crowded: &[Row]) -> String {
    let line = |name, dashes, rows: &[Row], of: fn(&Row) -> f64| {
        let points = rows.iter().map(|row| (f64::from(row.executors), of(row))).collect();
        Line { name, dashes, points }
    };
    let panels = [
        (
            "driver's CPU in a two-stage batch, ms",
            Some(GOAL_MS),
            [line("by hand", "", rows, |row| row.cpu_ms), line("network", "2", crowded, |row| row.cpu_ms)],
        ),
        (
            "messages and datagrams of a batch",
            None,
            [
                line("messages", "", rows, |row| row.messages),
                line("datagrams", "2", rows, |row| row.datagrams),
            ],
        ),
        (
            "KB of a batch",
            None,
            [
                line("in messages", "", rows, |row| row.message_bytes / 1e3),
                line("in datagrams", "2", rows, |row| row.datagram_bytes / 1e3),
            ],
        ),
    ];
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, (title, goal, lines)) in panels.iter().enumerate() {
        panel(&mut svg, number as f64 * HEIGHT, title, *goal, lines);
    }
    svg += "</svg>\n";
    svg
}

/// Writing to a String cannot fail.
fn panel(svg: &mut String, top: f64, title: &str, goal: Option<f64>, lines: &[Line]) {
    let most =
        |of: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| &line.points).map(of).fold(0.0, f64::max);
    let (x_max, y_max) =
        (most(|point| point.0).max(1.0), most(|point| point.1).max(goal.unwrap_or(0.0)) * 1.1);
    let (bottom, right) = (top + HEIGHT - BELOW, WIDTH - RIGHT);
    let x = |value: f64| LEFT + value / x_max * (right - LEFT);
    let y = |value: f64| bottom - value / y_max.max(f64::MIN_POSITIVE) * (HEIGHT - ABOVE - BELOW);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\">{title}</text>\n<path d=\"M{LEFT} {:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"black\"/>",
        top + 14.0,
        top + ABOVE
    );
    if let Some(goal) = goal {
        let (at, left) = (y(goal), LEFT - 20.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right:.1}\" stroke=\"grey\" stroke-dasharray=\"4\"/>\n<text x=\"{left:.1}\" y=\"{at:.1}\">{goal}</text>"
        );
    }
    for (number, Line { name, dashes, points }) in lines.iter().enumerate() {
        let mut path = String::new();
        for (executors, value) in points {
            let (at, up) = (x(*executors), y(*value));
            let _ = write!(path, "{}{at:.1} {up:.1}", if path.is_empty() { "M" } else { "L" });
            let _ = writeln!(svg, "<circle cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"3\"/>");
            if number == 0 {
                let below = bottom + 16.0;
                let _ = writeln!(
                    svg,
                    "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{executors}</text>"
                );
            }
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"black\" stroke-dasharray=\"{dashes}\"/>"
        );
        if let Some((executors, value)) = points.last() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\">{name} {value:.1}</text>",
                x(*executors) + 8.0,
                y(*value) + if number == 0 { 12.0 } else { -2.0 }
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\">executors</text>",
        (LEFT + right) / 2.0,
        top + HEIGHT - 6.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_chaos::scale::Shuffle;

    #[test]
    fn every_figure_of_every_row_is_a_point() {
        let row = |executors, cpu_ms, shuffle| Row {
            executors,
            shuffle,
            batches: 5,
            tasks: 26,
            cpu_ms,
            cpu_ms_of_runs: vec![cpu_ms],
            messages: 36.0,
            message_bytes: 10_800.0,
            datagrams: 51.0,
            datagram_bytes: 12_800.0,
        };
        let rows = [row(10, 1.0, Shuffle::Hands), row(30, 5.0, Shuffle::Hands)];
        let crowded = [row(10, 2.0, Shuffle::Network), row(30, 10.0, Shuffle::Network)];
        let svg = plot(&rows, &crowded);
        assert_eq!(svg.matches("<circle").count(), 3 * 2 * 2, "{svg}");
        for said in [
            "by hand 5.0",
            "network 10.0",
            "messages 36.0",
            "datagrams 51.0",
            "in messages 10.8",
            "in datagrams 12.8",
        ] {
            assert!(svg.contains(&format!(">{said}</text>")), "{said} is in {svg}");
        }
        // By hand: the largest figure of the first panel is 10 ms, so its axis ends at 11; 5 ms are at 220 - 5 / 11 * 196.
        assert!(svg.contains("<circle cx=\"460.0\" cy=\"130.9\""), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
