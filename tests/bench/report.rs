//! What was measured, against what it is measured by.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::measure::median;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// Its ratio to the limit, at least.
    Ratio(f64),
    /// Itself, at the most.
    AtMost(f64),
    /// It is there to compare with.
    Nothing,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub name: String,
    pub unit: &'static str,
    /// One per round; the median is shown.
    pub values: Vec<f64>,
    /// The limit, one per round, measured right before or after.
    pub limits: Vec<f64>,
    pub wanted: Wanted,
}

impl Figure {
    /// Something without a limit of its own.
    pub(crate) fn plain(
        name: impl Into<String>,
        unit: &'static str,
        values: Vec<f64>,
        wanted: Wanted,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            values,
            limits: Vec::new(),
            wanted,
        }
    }

    /// The median of the rounds' ratios.
    fn ratio(&self) -> Option<f64> {
        if self.limits.is_empty() {
            return None;
        }
        let ratios: Vec<f64> = self
            .values
            .iter()
            .zip(&self.limits)
            .map(|(value, limit)| value / limit)
            .collect();
        Some(median(&ratios))
    }

    fn wanted(&self) -> String {
        match self.wanted {
            Wanted::Ratio(least) => format!(">= {least:.2} x"),
            Wanted::AtMost(most) => format!("<= {}", number(most)),
            Wanted::Nothing => String::new(),
        }
    }

    fn is_met(&self) -> Option<bool> {
        match self.wanted {
            Wanted::Ratio(least) => self.ratio().map(|ratio| ratio >= least),
            Wanted::AtMost(most) => Some(median(&self.values) <= most),
            Wanted::Nothing => None,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.is_met() {
            Some(true) => "met",
            Some(false) => "short",
            None => "",
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figure]) -> io::Result<()> {
    let head = [
        "figure", "median", "unit", "limit", "ratio", "wanted", "verdict",
    ];
    let rows: Vec<[String; 7]> = figures
        .iter()
        .map(|figure| {
            let limit = (!figure.limits.is_empty()).then(|| number(median(&figure.limits)));
            [
                figure.name.clone(),
                number(median(&figure.values)),
                figure.unit.into(),
                limit.unwrap_or_default(),
                figure
                    .ratio()
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                figure.wanted(),
                figure.verdict().into(),
            ]
        })
        .collect();
    let mut out = io::stdout().lock();
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    for row in std::iter::once(&head.map(String::from)).chain(&rows) {
        let [name, median, unit, limit, ratio, wanted, verdict] = row;
        let [w0, w1, w2, w3, w4, w5, _] = widths;
        let line = format!(
            "{name:<w0$}  {median:>w1$} {unit:<w2$}  {limit:>w3$}  {ratio:>w4$}  {wanted:<w5$}  {verdict}"
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints one JSON object.
pub(crate) fn print_json(machine: &Value, figures: &[Figure]) -> io::Result<()> {
    let figures: Vec<Value> = figures
        .iter()
        .map(|figure| {
            json!({
                "figure": figure.name,
                "unit": figure.unit,
                "median": median(&figure.values),
                "rounds": figure.values,
                "limit": (!figure.limits.is_empty()).then(|| median(&figure.limits)),
                "limits": figure.limits,
                "ratio": figure.ratio(),
                "wanted": figure.wanted(),
                "met": figure.is_met(),
            })
        })
        .collect();
    let all = json!({ "machine": machine, "figures": figures });
    writeln!(io::stdout(), "{all}")
}
