//! The tables of an inspection, plain and coloured.

use super::{Inspection, Norms, NormsOf, Rates, Reading, SegmentLoss, TokenReading};
use crate::report::heat::{Heat, Scale, range_of};
use crate::report::three_digits;

/// Tokens of the table of those that count most.
const HEAVIEST: usize = 20;

/// A column of a table by layer, and the number that stands in it.
type Placed = (usize, String, f64);

impl Inspection {
    /// The losses of the whole context, a line an adapter, the head first.
    pub fn losses_lines(&self) -> Option<Vec<Vec<String>>> {
        let losses = self.losses.as_ref().filter(|losses| !losses.inner.is_empty())?;
        let last = losses.inner.len() - 1;
        let head = ["", "inner loss", "plain loss, nats a token"].map(str::to_owned).to_vec();
        let line = |(step, (inner, plain)): (usize, (&f64, &f64))| {
            let name = match step {
                0 => "before the first step".to_owned(),
                step if step == last => format!("after step {step}, the last"),
                step => format!("after step {step}"),
            };
            vec![name, three_digits(*inner), three_digits(*plain)]
        };
        let pairs = losses.inner.iter().zip(&losses.cross_entropy).enumerate();
        Some(std::iter::once(head).chain(pairs.map(line)).collect())
    }

    /// The tokens that count most, the head first.
    pub fn heaviest_lines(&self) -> Vec<Vec<String>> {
        let head = ["token", "segment", "ω before", "ω after", "loss before", "loss after"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        let Some(reading) = &self.reading else { return lines };
        lines.extend(reading.heaviest(HEAVIEST).into_iter().map(|(segment, token)| {
            let TokenReading { text, weight, loss } = &reading.segments[segment].tokens[token];
            let numbers = [weight.before, weight.after, loss.before, loss.after].map(three_digits);
            [format!("{text:?}"), segment.to_string()].into_iter().chain(numbers).collect()
        }));
        lines
    }

    /// Losses of these segments over the inner steps: what of the inner loss is theirs, and the plain loss.
    pub fn segment_heats(&self, shown: &[usize]) -> Vec<Heat> {
        let Some(reading) = &self.reading else { return vec![] };
        let weighted = "Part of each segment in the inner loss: Σ ω · loss, in nats";
        vec![
            by_segment(reading, shown, weighted, |loss| loss.weighted),
            by_segment(reading, shown, "Plain loss of each segment, in nats a token", |loss| {
                loss.cross_entropy
            }),
        ]
    }

    /// Norms by layer and projection.
    pub fn norm_heat(&self) -> Option<Heat> {
        self.norms.as_ref().map(norm_heat)
    }

    /// Learning rates by layer and tensor, a table for each step; their colours compare.
    pub fn rate_heats(&self) -> Vec<Heat> {
        self.rates.as_ref().map_or_else(Vec::new, rate_heats)
    }
}

fn by_segment(reading: &Reading, shown: &[usize], title: &str, of: fn(&SegmentLoss) -> f64) -> Heat {
    let steps = reading.segments.first().map_or(0, |segment| segment.losses.len());
    let column = |step: usize| match step {
        0 => "before".to_owned(),
        step => format!("after {step}"),
    };
    let line = |index: &usize| -> Vec<Option<f64>> {
        reading.segments[*index].losses.iter().map(|loss| Some(of(loss))).collect()
    };
    let cells: Vec<_> = shown.iter().map(line).collect();
    Heat {
        title: title.to_owned(),
        corner: "segment".to_owned(),
        columns: (0..steps).map(column).collect(),
        lines: shown.iter().map(usize::to_string).collect(),
        range: range_of(cells.iter().flatten().flatten().copied()),
        cells,
        scale: Scale::FromZero,
    }
}

fn norm_heat(norms: &Norms) -> Heat {
    let title = match norms.of {
        NormsOf::Change => "What the inner loop adds to each matrix: Frobenius norm of s (B_N A_N − B_0 A_0)",
        NormsOf::Adapter => "What the adapter adds to each matrix: Frobenius norm of s B A",
    };
    let placed: Vec<Placed> =
        norms.sites.iter().map(|site| (site.layer, short(site.projection).to_owned(), site.norm)).collect();
    let range = range_of(norms.sites.iter().map(|site| site.norm));
    by_layer(title.to_owned(), &placed, Scale::FromZero, range)
}

fn rate_heats(rates: &Rates) -> Vec<Heat> {
    let steps = rates.tensors.first().map_or(0, |tensor| tensor.rates.len());
    let range = range_of(rates.tensors.iter().flat_map(|tensor| tensor.rates.iter().copied()));
    let heat = |step: usize| {
        let place = |tensor: &super::TensorRates| {
            let column = format!("{} {}", short(tensor.projection), tensor.matrix);
            (tensor.layer, column, tensor.rates[step])
        };
        let placed: Vec<Placed> = rates.tensors.iter().map(place).collect();
        by_layer(format!("Learning rates of inner step {}", step + 1), &placed, Scale::Logarithmic, range)
    };
    (0..steps).map(heat).collect()
}

/// A line a layer, a column for each name in its order.
fn by_layer(title: String, placed: &[Placed], scale: Scale, range: (f64, f64)) -> Heat {
    let (mut layers, mut columns): (Vec<usize>, Vec<String>) = (vec![], vec![]);
    for (layer, column, _) in placed {
        if !layers.contains(layer) {
            layers.push(*layer);
        }
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let cell = |layer: usize, column: &String| {
        placed.iter().find(|(l, c, _)| (*l, c) == (layer, column)).map(|(_, _, number)| *number)
    };
    let line = |layer: &usize| columns.iter().map(|column| cell(*layer, column)).collect();
    Heat {
        title,
        corner: "layer".to_owned(),
        lines: layers.iter().map(usize::to_string).collect(),
        cells: layers.iter().map(line).collect(),
        columns,
        scale,
        range,
    }
}

/// `q_proj` as `q`: narrow columns.
fn short(projection: &str) -> &str {
    projection.strip_suffix("_proj").unwrap_or(projection)
}

#[cfg(test)]
mod tests {
    use super::super::tests::inspection;

    #[test]
    fn rates_have_a_table_a_step_with_a_line_a_layer_and_a_column_a_tensor() {
        let heats = inspection().rate_heats();
        assert_eq!(heats.len(), 2);
        assert_eq!(heats[1].title, "Learning rates of inner step 2");
        assert_eq!(heats[1].columns, ["q A", "q B", "down A", "down B"]);
        assert_eq!(heats[1].lines, ["3", "4"]);
        assert_eq!(heats[1].cells[0], [Some(0.2), Some(0.2), None, None]);
        assert_eq!(heats[0].cells[1], [None, None, Some(0.001), Some(0.001)]);
        assert_eq!(heats[0].range, heats[1].range);
        assert_eq!(heats[0].range, (0.001, 0.2));
    }

    #[test]
    fn norms_have_a_line_a_layer() {
        let heat = inspection().norm_heat().unwrap();
        assert_eq!((heat.lines.len(), heat.columns), (2, vec!["q".to_owned(), "down".to_owned()]));
        assert_eq!(heat.cells, [[Some(1.5), None], [None, Some(0.25)]]);
    }

    #[test]
    fn segments_have_a_line_each_and_a_column_for_every_adapter() {
        let heats = inspection().segment_heats(&[1]);
        assert_eq!(heats[0].columns, ["before", "after 1"]);
        assert_eq!(heats[0].lines, ["1"]);
        assert_eq!(heats[0].cells, [[Some(8.0), Some(1.0)]]);
        assert_eq!(heats[1].cells, [[Some(2.0), Some(0.5)]]);
    }
}
