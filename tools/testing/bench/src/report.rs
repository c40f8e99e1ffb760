// SPDX-License-Identifier: GPL-2.0
//! From what the boots said to a table, a file and a plot.

use std::fs;
use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use crate::measure::Record;
use crate::measure::Unit;
use crate::plot;
use crate::sizes;
use crate::sizes::Size;

/// Boots that agree within this are exact.
const EXACT: f64 = 0.001;
/// How many times its goal a ratio may be: of exact boots, and of those that differ.
const EXACT_TOLERANCE: f64 = 1.01;
const TOLERANCE: f64 = 1.02;

/// One operation on both kernels.
#[derive(Serialize)]
pub struct Row {
    /// What was measured.
    pub operation: String,
    /// What is counted.
    pub unit: Unit,
    /// Every boot of the C kernel.
    pub c: Vec<f64>,
    /// Every boot of the Rust kernel.
    pub rust: Vec<f64>,
    /// The least of Rust over the least of C.
    pub ratio: f64,
    /// How far the boots of a kernel differ: the greatest over the least, less one; the worse of
    /// the two kernels.
    pub spread: f64,
    /// The greatest ratio wanted.
    pub goal: f64,
    /// Whether `ratio` meets it.
    pub met: bool,
    /// The operation of the Rust kernel that stands in for C's, if C has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

#[derive(Serialize)]
struct Results<'a> {
    rows: &'a [Row],
    /// What C does not have: `c` and `rust` are two operations of the Rust kernel.
    beside: &'a [Row],
    sizes: &'a [Size],
}

/// Reads what is in `directory`, prints the table and writes results.json and plot.svg there.
pub fn report(directory: &Path, check: bool, wall: bool) -> Result<()> {
    let (c, rust) = (boots(directory, "c")?, boots(directory, "rust")?);
    let mut rows = rows(&c, &rust)?;
    print_rows(&rows, wall);
    let beside = rows_beside(&rust)?;
    print_rows_beside(&beside, wall);
    if wall {
        return Ok(());
    }
    let sizes = sizes::compare(&directory.join("c.nm"), &directory.join("rust.nm"))?;
    sizes::print(&sizes);
    let results = Results {
        rows: &rows,
        beside: &beside,
        sizes: &sizes,
    };
    let json = directory.join("results.json");
    fs::write(&json, serde_json::to_string_pretty(&results)?)
        .with_context(|| format!("write {}", json.display()))?;
    plot::draw(&rows, &directory.join("plot.svg"))?;
    rows.extend(beside);

    let missed: Vec<_> = rows.iter().filter(|row| !row.met).collect();
    if missed.is_empty() {
        println!("\nall {} operations meet their goal", rows.len());
        return Ok(());
    }
    println!(
        "\n{} of {} operations miss their goal:",
        missed.len(),
        rows.len()
    );
    for row in &missed {
        println!(
            "  {}: {:.2}, wanted {:.2}",
            row.operation, row.ratio, row.goal
        );
    }
    ensure!(!check, "{} operations miss their goal", missed.len());
    Ok(())
}

/// The records of every boot of a kernel.
fn boots(directory: &Path, kernel: &str) -> Result<Vec<Vec<Record>>> {
    let mut boots = Vec::new();
    for number in 1.. {
        let path = directory.join(format!("{kernel}.{number}.json"));
        if !path.exists() {
            break;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let records = text
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(serde_json::from_str)
            .collect::<Result<Vec<Record>, _>>()
            .with_context(|| format!("{}: not what bench prints", path.display()))?;
        boots.push(records);
    }
    ensure!(
        !boots.is_empty(),
        "{} has no results of the {kernel} kernel ({kernel}.1.json, ...)",
        directory.display()
    );
    Ok(boots)
}

/// What both kernels have.
fn rows(c: &[Vec<Record>], rust: &[Vec<Record>]) -> Result<Vec<Row>> {
    let in_both = |boots: &[Vec<Record>]| -> Vec<Vec<Record>> {
        let of_boot = |boot: &Vec<Record>| {
            let records = boot.iter().filter(|record| record.beside.is_none());
            records.cloned().collect()
        };
        boots.iter().map(of_boot).collect()
    };
    let (c, rust) = (&in_both(c), &in_both(rust));
    let names = |boot: &Vec<Record>| -> Vec<String> {
        boot.iter().map(|record| record.operation.clone()).collect()
    };
    let first = &c[0];
    for boot in c.iter().chain(rust) {
        ensure!(
            names(boot) == names(first),
            "the boots did not measure the same operations: one ended early, or they are of two versions of bench"
        );
    }
    let column = |boots: &[Vec<Record>], n: usize| boots.iter().map(|boot| boot[n].value).collect();
    first
        .iter()
        .enumerate()
        .map(|(n, record)| row(record, column(c, n), column(rust, n)))
        .collect()
}

/// What C does not have, each beside the operation of the Rust kernel that it is compared with.
fn rows_beside(rust: &[Vec<Record>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for record in &rust[0] {
        let Some(beside) = &record.beside else {
            continue;
        };
        let column = |operation: &str| -> Result<Vec<f64>> {
            let find = |boot: &Vec<Record>| {
                let found = boot.iter().find(|record| record.operation == operation);
                Some(found?.value)
            };
            let found: Option<_> = rust.iter().map(find).collect();
            found.with_context(|| format!("not every boot has measured: {operation}"))
        };
        let mut row = row(record, column(beside)?, column(&record.operation)?)?;
        row.beside = Some(beside.clone());
        rows.push(row);
    }
    Ok(rows)
}

fn row(record: &Record, c: Vec<f64>, rust: Vec<f64>) -> Result<Row> {
    let (least_c, least_rust) = (least(&c), least(&rust));
    if least_c <= 0.0 || least_rust <= 0.0 {
        bail!(
            "{}: costs nothing or less in a boot, which cannot be",
            record.operation
        );
    }
    let ratio = least_rust / least_c;
    let spread = spread(&c).max(spread(&rust));
    let limit = record.goal
        * if spread > EXACT {
            TOLERANCE
        } else {
            EXACT_TOLERANCE
        };
    Ok(Row {
        operation: record.operation.clone(),
        unit: record.unit,
        met: ratio <= limit,
        goal: record.goal,
        c,
        rust,
        ratio,
        spread,
        beside: None,
    })
}

pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn spread(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max) / least(values) - 1.0
}

fn print_rows(rows: &[Row], wall: bool) {
    let boots = rows.first().map_or(0, |row| row.c.len());
    let counted = if wall {
        "nanoseconds with KVM; noisy"
    } else {
        "guest instructions, or bytes where it says so"
    };
    println!("Least of {boots} boots, in {counted}.\n");
    println!("| operation | C | Rust | ratio | goal | spread |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for row in rows {
        println!(
            "| {} | {} | {} | {:.3} | {:.2}{} | {:.1}% |",
            row.operation,
            thousands(least(&row.c)),
            thousands(least(&row.rust)),
            row.ratio,
            row.goal,
            if row.met || wall { "" } else { " **missed**" },
            row.spread * 100.0
        );
    }
}

fn print_rows_beside(rows: &[Row], wall: bool) {
    if rows.is_empty() {
        return;
    }
    println!("\nWhat C does not have, beside another operation of the Rust kernel.\n");
    println!("| operation | beside | of that | of this | ratio | goal | spread |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {:.3} | {:.2}{} | {:.1}% |",
            row.operation,
            row.beside.as_deref().unwrap_or_default(),
            thousands(least(&row.c)),
            thousands(least(&row.rust)),
            row.ratio,
            row.goal,
            if row.met || wall { "" } else { " **missed**" },
            row.spread * 100.0
        );
    }
}

/// A number with its digits in groups of three.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(operation: &str, value: f64, goal: f64) -> Record {
        Record {
            operation: operation.to_owned(),
            unit: Unit::Instructions,
            value,
            goal,
            beside: None,
        }
    }

    #[test]
    fn what_c_lacks_is_compared_on_one_kernel() {
        let mut new = record("new", 150.0, 1.2);
        new.beside = Some("old".to_owned());
        let c = [vec![record("old", 50.0, 1.0)]];
        let rust = [vec![record("old", 100.0, 1.0), new]];
        let all = rows(&c, &rust).unwrap();
        assert_eq!(all.len(), 1);
        let beside = rows_beside(&rust).unwrap();
        assert_eq!((beside[0].ratio, beside[0].met), (1.5, false));
        assert!(rows_beside(&c).unwrap().is_empty());
    }

    #[test]
    fn exact_boots_meet_a_goal_within_a_hundredth() {
        let boot = |value| vec![record("a", value, 1.0)];
        let met = |c: &[f64], rust: &[f64]| {
            let boots =
                |values: &[f64]| values.iter().map(|&value| boot(value)).collect::<Vec<_>>();
            rows(&boots(c), &boots(rust)).unwrap()[0].met
        };
        assert!(met(&[100.0, 100.0], &[100.0, 100.0]));
        assert!(met(&[100.0, 100.0], &[100.9, 100.9]));
        assert!(!met(&[100.0, 100.0], &[101.1, 101.1]));
        assert!(met(&[100.0, 104.0], &[101.0, 101.0]));
        assert!(!met(&[100.0, 104.0], &[103.0, 103.0]));
    }

    #[test]
    fn boots_that_differ_in_what_they_measured_are_refused() {
        let c = [vec![record("a", 1.0, 1.0), record("b", 1.0, 1.0)]];
        let rust = [vec![record("a", 1.0, 1.0)]];
        assert!(rows(&c, &rust).is_err());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(15.4), "15");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.6), "1,000");
    }
}
