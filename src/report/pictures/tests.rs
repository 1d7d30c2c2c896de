use resvg::tiny_skia::Pixmap;

use super::*;
use crate::{
    benchmarks::Length,
    report::fixture::{evaluation, kilo, row, with_support},
    tasks::Position,
};

fn at(position: Position, mut row: CellScore) -> CellScore {
    row.cell.position = position;
    row
}

/// The texts of a picture, in the order of drawing.
fn texts(picture: &Picture) -> Vec<&str> {
    let texts = picture.svg().lines().filter(|line| line.starts_with("<text"));
    texts.filter_map(|line| line.split_once('>')?.1.strip_suffix("</text>")).collect()
}

fn pixels(picture: &Picture) -> Pixmap {
    Pixmap::decode_png(&picture.png().unwrap()).unwrap()
}

fn size(picture: &Picture) -> (u32, u32) {
    let side = |name: &str| {
        let (_, rest) = picture.svg().split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse::<u32>().unwrap()
    };
    (side("width"), side("height"))
}

fn three_lengths() -> Vec<CellScore> {
    let cells = [("perk", [99, 96, 91]), ("base", [80, 40, 22])];
    let rows = cells.into_iter().flat_map(|(method, scores)| {
        let lengths = [kilo(0), kilo(4), kilo(32)].into_iter().zip(scores);
        lengths.map(move |(length, right)| row(method, "qa1", length, right))
    });
    rows.collect()
}

#[test]
fn a_heat_map_names_subtasks_and_lengths_and_shows_scores_and_their_means() {
    let mut rows = three_lengths();
    rows.push(row("perk", "qa2", kilo(4), 60));
    let picture = heat_map(&rows, "perk", Position::Random, "babilong").unwrap();
    assert_eq!(
        texts(&picture)[2..],
        [
            "0k", "4k", "32k", "mean", "qa1", "99", "96", "91", "95", "qa2", "–", "60", "–", "–", "mean",
            "–", "78", "–", "–"
        ]
    );
    assert!(picture.svg().contains("babilong"));
}

#[test]
fn a_heat_map_of_one_cell_has_no_means() {
    let picture = heat_map(&[row("perk", "qa1", None, 7)], "perk", Position::Random, "x").unwrap();
    assert_eq!(texts(&picture)[2..], ["all", "qa1", "7"]);
}

#[test]
fn the_picture_over_length_has_a_line_and_a_band_for_each_method_and_labels() {
    let picture = over_length(&three_lengths(), "a title", Some(1.0 / 6.0)).unwrap();
    let texts = texts(&picture);
    for label in ["a title", "perk", "base", "chance", "accuracy (%)", "0k", "4k", "32k", "0", "100"] {
        assert!(texts.contains(&label), "{label} in {texts:?}");
    }
    assert_eq!(picture.svg().matches("fill-opacity=\"0.13\"").count(), 2);
    assert_eq!(picture.svg().matches("stroke-dasharray").count(), 2, "the line and its key");
    let guessless = over_length(&three_lengths(), "a title", None).unwrap();
    assert!(!guessless.svg().contains("chance") && !guessless.svg().contains("stroke-dasharray"));
}

#[test]
fn the_picture_of_answers_with_their_facts_has_the_rows_whose_facts_were_compared() {
    let with_facts = [4, 32].map(|tokens| with_support(row("perk", "qa2", kilo(tokens), 90)));
    let rows = [&with_facts[..], &[row("icr", "qa2", kilo(4), 50)]].concat();
    let picture = right_with_facts_over_length(&rows, "a title").unwrap();
    let texts = texts(&picture);
    assert!(texts.contains(&"right with its facts (%)") && !texts.contains(&"icr"), "{texts:?}");
    assert_eq!(picture.svg().matches("<circle").count(), 3, "two points and the key");
    assert!(right_with_facts_over_length(&rows[2..], "x").is_err());
}

#[test]
fn lengths_too_close_for_their_labels_keep_their_points() {
    let lengths = [10_000, 10_001, 10_002, 20_000].map(|tokens| Some(Length::Tokens(tokens)));
    let rows = lengths.map(|length| row("perk", "qa1", length, 50));
    let picture = over_length(&rows, "x", None).unwrap();
    assert!(texts(&picture).contains(&"20k") && !texts(&picture).contains(&"10001"));
    assert_eq!(picture.svg().matches("<circle").count(), 5, "four points and the key");
}

#[test]
fn the_picture_over_position_has_a_number_for_each_bar() {
    let positions = [(Position::Post, 71), (Position::Pre, 83), (Position::Mid, 62)];
    let rows = positions.map(|(position, right)| at(position, row("perk", "qa1", kilo(4), right)));
    let picture = over_position(&rows, "x", None).unwrap();
    let texts = texts(&picture);
    let drawn = ["pre", "mid", "post", "83", "62", "71"];
    assert_eq!(texts[texts.len() - 6..], drawn, "in the order of positions");
    assert!(texts.contains(&"position of the facts in the context, 4k"));
}

#[test]
fn positions_are_compared_on_the_cells_that_all_methods_have_at_all_of_them() {
    let cells = [("perk", 4, 90), ("perk", 32, 10), ("base", 4, 70)];
    let rows = [Position::Pre, Position::Mid].into_iter().flat_map(|position| {
        cells.map(|(method, tokens, right)| at(position, row(method, "qa1", kilo(tokens), right)))
    });
    let mut rows: Vec<CellScore> = rows.collect();
    let numbers = |picture: &Picture| texts(picture)[texts(picture).len() - 4..].join(" ");
    assert_eq!(numbers(&over_position(&rows, "x", None).unwrap()), "90 70 90 70");
    rows.push(row("icr", "qa1", kilo(64), 50));
    assert!(over_position(&rows, "x", None).is_err(), "nothing that all have");
}

#[test]
fn a_method_that_lacks_a_subtask_at_a_length_has_no_point_there() {
    let mut rows = three_lengths();
    rows.push(row("base", "qa2", kilo(4), 30));
    let picture = over_length(&rows, "x", None).unwrap();
    assert_eq!(picture.svg().matches("<circle").count(), 3, "the key of perk and two of its three points");
}

#[test]
fn a_png_is_twice_as_large_as_its_svg_and_shows_something() {
    let rows = three_lengths();
    for picture in [
        heat_map(&rows, "base", Position::Random, "x").unwrap(),
        over_length(&rows, "x", Some(0.5)).unwrap(),
        over_position(&rows, "x", Some(0.5)).unwrap(),
    ] {
        let (found, (width, height)) = (pixels(&picture), size(&picture));
        assert_eq!((found.width(), found.height()), (2 * width, 2 * height));
        assert!(found.pixels().iter().all(|pixel| pixel.alpha() == 255), "white below all");
        let ink = found.pixels().iter().filter(|pixel| pixel.red() < 100).count();
        assert!(ink > 500, "text and lines: {ink} pixels");
    }
}

#[test]
fn text_is_drawn_with_the_embedded_font() {
    let dark = |title: &str| {
        let picture = heat_map(&[row("perk", "qa1", None, 50)], "perk", Position::Random, title).unwrap();
        pixels(&picture).pixels().iter().filter(|pixel| pixel.red() < 100).count()
    };
    assert!(dark("MMMM") > dark("M") + 100 && dark("M") > dark(" ") + 30);
}

#[test]
fn nothing_to_draw_is_an_error_and_a_lone_score_is_a_picture() {
    assert!(heat_map(&[], "perk", Position::Random, "x").is_err());
    assert!(heat_map(&three_lengths(), "icr", Position::Random, "x").is_err());
    assert!(heat_map(&three_lengths(), "perk", Position::Pre, "x").is_err());
    assert!(over_length(&[], "x", None).is_err());
    assert!(over_length(&[row("perk", "qa1", None, 5)], "x", None).is_err());
    assert!(over_position(&[], "x", None).is_err());
    let mut lone = row("perk", "qa1", kilo(0), 100);
    (lone.context_tokens, lone.samples) = (0, 0);
    pixels(&over_length(&[lone.clone()], "x", None).unwrap());
    pixels(&over_position(&[lone], "x", None).unwrap());
}

#[test]
fn names_with_markup_signs_and_scores_that_are_no_numbers_do_no_harm() {
    let mut odd = row("a<b>&\"c\"", "q&a\u{7}<1>", kilo(1), 50);
    (odd.score, odd.interval) = (f64::NAN, (f64::NAN, f64::INFINITY));
    let rows = [odd, row("perk", "q&a\u{7}<1>", kilo(1), 50)];
    pixels(&heat_map(&rows, "a<b>&\"c\"", Position::Random, "<title> & more").unwrap());
    pixels(&over_length(&rows, "<title>", Some(f64::NAN)).unwrap());
    pixels(&over_position(&rows, "<title>", Some(2.0)).unwrap());
}

#[test]
fn an_evaluation_writes_the_pictures_that_its_rows_allow() {
    let room = tempfile::tempdir().unwrap();
    let mut rows = three_lengths();
    rows.extend(["perk", "base"].map(|method| at(Position::Pre, row(method, "qa1", kilo(4), 40))));
    let mut evaluation = evaluation(rows);
    let paths = evaluation.write_pictures(room.path()).unwrap();
    let stem = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let svgs: Vec<String> = paths.iter().map(stem).filter(|name| name.ends_with(".svg")).collect();
    let expected = [
        "heat_map_perk_pre.svg",
        "heat_map_perk_random.svg",
        "heat_map_base_pre.svg",
        "heat_map_base_random.svg",
        "over_length_pre.svg",
        "over_length_random.svg",
        "over_position.svg",
    ];
    assert_eq!(svgs, expected);
    assert!(paths.len() == 14 && paths.iter().all(|path| path.exists()));
    evaluation.rows = vec![row("ft-icr", "qa1", None, 40), at(Position::Pre, row("perk", "qa2", None, 40))];
    let paths = evaluation.write_pictures(room.path()).unwrap();
    assert_eq!(paths.len(), 4, "heat maps alone: no lengths, and no positions that compare");
}

#[test]
fn the_cost_of_a_document_is_drawn_over_the_questions_where_methods_compare() {
    let room = tempfile::tempdir().unwrap();
    let took = |method: &str, encode_secs, ask_secs| CellScore {
        encode_secs,
        ask_secs,
        ..row(method, "qa1", kilo(4), 50)
    };
    let rows = vec![took("perk", 10.0, 0.1), took("icr", 0.0, 2.0), took("base", 0.0, 0.1)];
    let picture = over_questions(&rows, kilo(4), "cost").unwrap();
    let svg = picture.svg();
    assert!(svg.contains("questions on one document") && svg.contains(">1000<"), "{svg}");
    // The base carries no context, so it is not compared.
    assert!(svg.contains(">icr<") && svg.contains(">perk<") && !svg.contains(">base<"), "{svg}");
    assert!(over_questions(&rows[..1], kilo(4), "cost").is_err());
    assert!(over_questions(&rows, kilo(8), "cost").is_err());
    let mut evaluation = evaluation(rows);
    let has_cost = |evaluation: &Evaluation| {
        let paths = evaluation.write_pictures(room.path()).unwrap();
        paths.iter().any(|path| path.ends_with("over_questions_4k.svg"))
    };
    assert!(!has_cost(&evaluation));
    evaluation.break_even = true;
    assert!(has_cost(&evaluation));
}
