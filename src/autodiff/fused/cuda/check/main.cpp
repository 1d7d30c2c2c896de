// Every kernel in all its types on small and odd shapes, for a sanitizer to look at: scripts/check-kernels.sh. Values
// are compared elsewhere, with the row functions; here they must be there, and a few sums must be right.
#include "decoding.h"
#include "products.h"

using namespace check;

void norms() {
  each_shape(TYPES(rms_norm), {1}, [](Case one, long long rows, long long width, Grid grid) {
    one.input(0, rows * width);
    one.output(0, rows * width);
    one.table(0, numbers(one.entry.kind, width));
    one.sizes({rows, width});
    one.number(0, 1e-6);
    run(one, grid);
  });
  each_shape(TYPES(rms_norm_vjp), {1, 2, 3}, [](Case one, long long rows, long long width, Grid grid) {
    one.input(0, rows * width);
    one.input(1, rows * width);
    one.output(0, rows * width);
    one.table(0, numbers(one.entry.kind, width));
    one.sizes({rows, width});
    one.number(0, 1e-6);
    run(one, grid);
  });
}

// Entries of a batch without padding, with padding before, behind and on both sides, and of padding alone.
void softmax(const Entry &entry, long long heads, unsigned int tokens, Grid grid) {
  const unsigned int some = tokens / 3;
  const std::vector<unsigned int> spans = {0,    tokens,        some,   tokens, 0, tokens - some,
                                           some, tokens - some, tokens, tokens, 0, 0};
  const long long rows_of_entry = heads * tokens, rows = rows_of_entry * (long long)spans.size() / 2;
  Case one(entry, 1);
  one.input(0, rows * tokens);
  one.output(0, rows * tokens);
  one.table(0, table(spans));
  one.sizes({rows, tokens, rows_of_entry});
  one.number(0, 0.25);
  run(one, grid);
  for (long long row = 0; row < rows; row++) {
    const unsigned int *span = &spans[2 * (size_t)(row / rows_of_entry)], position = (unsigned int)(row % tokens);
    look_at_sum(one, 0, row * tokens, tokens, span[0] < span[1] && span[0] <= position ? 1 : 0);
    if (entry.dual) {
      look_at_sum(one, 1, row * tokens, tokens, 0);
    }
  }
}

void softmaxes() {
  for (unsigned int tokens : {1, 7, 33}) {
    each(TYPES(causal_softmax), {1}, [&](const Entry &entry, unsigned int, Grid grid) {
      softmax(entry, tokens == 7 ? 3 : 1, tokens, grid);
    });
  }
  each_shape(TYPES(softmax_vjp), {1, 2, 3}, [](Case one, long long rows, long long width, Grid grid) {
    one.input(0, rows * width);
    one.input(1, rows * width);
    one.output(0, rows * width);
    one.sizes({rows, width});
    one.number(0, 0.25);
    run(one, grid);
  });
}

void cross_entropies() {
  each_shape(TYPES(cross_entropy), {1, 2, 3}, [](Case one, long long rows, long long vocab, Grid grid) {
    const long long first = 2;
    std::vector<unsigned int> targets;
    for (long long row = 0; row < first + rows; row++) {
      targets.push_back((unsigned int)(row % 2 ? vocab - 1 : row % vocab));
    }
    one.input(0, rows * vocab);
    one.input(1, rows, true);
    one.output(0, rows * vocab);
    one.output(1, rows);
    one.table(0, table(targets));
    one.sizes({rows, vocab, first});
    run(one, grid);
    for (long long row = 0; row < rows; row++) {
      look_at_sum(one, 0, row * vocab, vocab, 0);
    }
  });
}

void gates() {
  each_shape(TYPES(gated), {1}, [](Case one, long long rows, long long width, Grid grid) {
    one.input(0, 2 * rows * width);
    one.output(0, rows * width);
    one.sizes({rows * width, width});
    one.number(0, 1);
    one.number(1, 1);
    run(one, grid);
  });
  each_shape(TYPES(gated_vjp), {1, 2, 3}, [](Case one, long long rows, long long width, Grid grid) {
    one.input(0, 2 * rows * width);
    one.input(1, rows * width);
    one.output(0, 2 * rows * width);
    one.sizes({rows * width, width});
    for (int i = 0; i < 3; i++) {
      one.number(i, 1);
    }
    run(one, grid);
  });
}

// Cosines and sines for these positions, where anything is turned.
void turn(Case &one, long long positions, long long half, bool turned) {
  for (int index = 0; turned && index < 2; index++) {
    one.table(index, numbers(one.entry.kind, positions * half));
  }
}

void heads() {
  const long long batch = 2, all = 4;
  each_shape(TYPES(split_heads), {1}, [=](Case one, long long tokens, long long width, Grid grid) {
    const long long half = width / 2 + 1, first = width % 3, count = all - first, turned = tokens % 2;
    one.input(0, batch * tokens * all * 2 * half);
    one.output(0, batch * count * tokens * 2 * half);
    turn(one, tokens, half, turned);
    one.sizes({batch * count * tokens * half, tokens, all, first, count, half, turned});
    run(one, grid);
  });
  // For each kind its heads, and whether they are turned; the first has the fewest, so that no other fits its memory.
  const std::vector<std::vector<long long>> kinds = {{3, 1}, {2, 0}, {1, 1, 2, 0}, {1, 1, 3, 1, 2, 0}};
  for (const std::vector<long long> &kind : kinds) {
    each_shape(TYPES(merge_heads), {1, 4, 7}, [&](Case one, long long tokens, long long width, Grid grid) {
      const long long half = width / 2 + 1;
      long long all = 0;
      for (size_t i = 0; i < kind.size(); i += 2) {
        one.input((int)i / 2, batch * kind[i] * tokens * 2 * half);
        all += kind[i];
      }
      one.output(0, batch * tokens * all * 2 * half);
      turn(one, tokens, half, kind[1]);
      one.sizes({batch * tokens * all * half, tokens, all, half});
      std::copy(kind.begin(), kind.end(), one.params.size + 4);
      run(one, grid);
    });
  }
}

void rows_by_number() {
  each_shape(TYPES(take_rows), {1}, [](Case one, long long rows, long long width, Grid grid) {
    std::vector<unsigned int> sources;
    for (long long row = 0; row < rows; row++) {
      sources.push_back(row % 3 == 1 ? 0xffffffffu : (unsigned int)(rows - 1 - row));
    }
    one.input(0, rows * width);
    one.output(0, rows * width);
    one.table(0, table(sources));
    one.sizes({rows * width, width});
    run(one, grid);
  });
}

// The pieces of each block add up to the sum of its squares, or of its numbers alone.
void look_at_dots(const Case &one, const Buffer &x, bool squares, long long count, long long pieces) {
  for (long long block = 0; block < x.count / count; block++) {
    double sum = 0;
    for (long long i = block * count; i < (block + 1) * count; i++) {
      sum += squares ? x.get(i) * x.get(i) : x.get(i);
    }
    look_at_sum(one, 0, block * pieces, pieces, sum);
  }
}

// Of some sets in pieces, of which some are shorter than others or have no numbers at all.
void dot_products() {
  for (long long pieces : {1, 3, 5}) {
    each(PLAIN_TYPES(dots), {0}, [=](const Entry &entry, unsigned int, Grid grid) {
      std::vector<Case> cases;
      const long long blocks = grid.blocks;
      for (long long count : {1, 130, 7, 64}) {
        const bool squares = count % 2;
        Case &one = cases.emplace_back(entry, 0);
        const Buffer x = one.input(0, blocks * count);
        if (squares) {
          one.input(1, x);
        }
        one.output(0, blocks * pieces, Kind::f64);
        one.sizes({count, pieces});
        run_together(cases, {(unsigned int)(blocks * pieces), grid.warps});
        look_at_dots(one, x, squares, count, pieces);
      }
    });
  }
}

template <class F> void fill(Case &one, long long count) {
  for (int i = 0; i < F::inputs; i++) {
    // The fourth of AdamW's is a mean of squares.
    one.input(i, count, i == 3);
  }
  for (int o = 0; o < F::outputs; o++) {
    one.output(o, count);
  }
  for (int i = 0; i < 24; i++) {
    one.number(i, 0.5 + i / 64.0);
  }
  one.sizes({count});
}

// A formula over one set of tensors, and over as many sets of different sizes as there are.
template <class F> void formula(const Entries &alone, const Entries &together) {
  const unsigned int every = (1u << F::inputs) - 1;
  each_shape(alone, {1, 1u << (F::inputs - 1), every}, [](Case one, long long rows, long long width, Grid grid) {
    fill<F>(one, rows * width);
    run(one, grid);
  });
  each(together, {1, every}, [](const Entry &entry, unsigned int varies, Grid grid) {
    std::vector<Case> cases;
    for (long long count : {1, 130, 7, 64}) {
      fill<F>(cases.emplace_back(entry, varies), count);
      run_together(cases, grid);
    }
  });
}
#define FORMULA_CHECK(name, type) formula<type>(TYPES(name), TYPES(name##_each))

int main() {
  norms();
  softmaxes();
  cross_entropies();
  gates();
  heads();
  rows_by_number();
  dot_products();
  biases();
  planes();
  beside_a_matrix();
  few_rows();
  attention();
  largest();
  FORMULA_CHECK(plus, Plus);
  FORMULA_CHECK(gelu, Gelu);
  FORMULA_CHECK(gelu_vjp, GeluVjp);
  FORMULA_CHECK(softplus, Softplus);
  FORMULA_CHECK(softplus_vjp, SoftplusVjp);
  FORMULA_CHECK(product, Product);
  FORMULA_CHECK(quotient, Quotient);
  FORMULA_CHECK(adamw, Adamw);
  FORMULA_CHECK(adamw_vjp, AdamwVjp);
  printf("%zu launches of %zu kernels\n", launches, launched.size());
}
