// Products with thin factors, whose numbers are compared with those of plain loops.
#pragma once
#include "shapes.h"
#include <algorithm>

namespace check {
// How a factor lies: matrices of a batch, or one that serves them all, whose rows (or, turned, columns) lie apart.
struct Lies {
  long long rows, columns, batch;
  bool turned, shared;

  long long down() const { return turned ? 1 : columns + 2; }
  long long across() const { return turned ? rows + 3 : 1; }
  long long each() const { return shared ? 0 : (turned ? columns * across() : rows * down()) + 1; }
  // Nothing behind the last number.
  long long count() const { return (batch - 1) * each() + (rows - 1) * down() + (columns - 1) * across() + 1; }
  long long at(long long nth, long long row, long long column) const {
    return nth * each() + row * down() + column * across();
  }
};

struct ThinFactor {
  Lies lies;
  Buffer values, tangents;
  bool varies;

  ThinFactor(Case &one, int index, const Lies &lies, bool varies)
      : lies(lies), values(numbers(one.entry.kind, lies.count())),
        // With other signs than the values.
        tangents(numbers(one.entry.kind, lies.count(), true)), varies(one.entry.dual && varies) {
    one.input(index, values);
    if (this->varies) {
      one.tangent(index, tangents);
    }
  }

  Pair<double> get(long long nth, long long row, long long column) const {
    const long long place = lies.at(nth, row, column);
    return {values.get(place), varies ? tangents.get(place) : 0};
  }
};

constexpr double THIN_SCALE = 0.75;

// A number of an output and its tangent must be the sum, scaled.
inline void look_at_number(const Case &one, long long place, Pair<double> sum) {
  look_at_sum(one, 0, place, 1, THIN_SCALE * sum.value);
  if (one.entry.dual) {
    look_at_sum(one, 1, place, 1, THIN_SCALE * sum.tangent);
  }
}

// Factors x (batch, m, depth) and w (batch, depth, columns) of products side by side.
struct ThinRight {
  long long m, batch;
  std::vector<long long> depths, columns;
  bool turned, shared;
};

inline void thin_right(const Entry &entry, unsigned int varies, const ThinRight &of, Grid grid) {
  Case one(entry, varies);
  std::vector<ThinFactor> x, w;
  long long all = 0, widest = 1;
  for (size_t nth = 0; nth < of.depths.size(); nth++) {
    const long long depth = of.depths[nth], columns = of.columns[nth];
    const int index = 2 * (int)nth;
    x.emplace_back(one, index, Lies{of.m, depth, of.batch, false, false}, varies >> index & 1);
    w.emplace_back(one, index + 1, Lies{depth, columns, of.batch, of.turned, of.shared}, varies >> index & 2);
    const Lies &left = x.back().lies, &right = w.back().lies;
    const long long sizes[] = {depth,          left.down(),  left.each(), right.down(),
                               right.across(), right.each(), columns,     all};
    std::copy(sizes, sizes + 8, one.params.size + 8 + 8 * nth);
    all += columns;
    widest = std::max(widest, columns);
  }
  const long long products = (long long)of.depths.size(), chunks = (widest + THIN - 1) / THIN;
  one.output(0, of.batch * of.m * all);
  one.sizes({of.m, all, of.m * all, products, chunks});
  one.number(0, THIN_SCALE);
  run(one, grid, (unsigned int)(of.batch * products * chunks));
  for (long long row = 0; row < of.batch * of.m; row++) {
    for (size_t nth = 0; nth < x.size(); nth++) {
      for (long long column = 0; column < of.columns[nth]; column++) {
        Pair<double> sum = {0, 0};
        for (long long i = 0; i < of.depths[nth]; i++) {
          sum = sum + x[nth].get(row / of.m, row % of.m, i) * w[nth].get(row / of.m, i, column);
        }
        look_at_number(one, row * all + one.params.size[15 + 8 * nth] + column, sum);
      }
    }
  }
}

// Factors d (batch, m, n) and z (batch, m, columns), and whether the result lies by columns of d.
struct ThinLeft {
  long long m, n, columns, batch;
  bool turned;
};

inline void thin_left(const Entry &entry, unsigned int varies, const ThinLeft &of, long long tile, Grid grid) {
  Case one(entry, varies);
  const ThinFactor d(one, 0, {of.m, of.n, of.batch, false, false}, varies & 1);
  const ThinFactor z(one, 1, {of.m, of.columns, of.batch, false, false}, varies & 2);
  const long long by_d = of.turned ? 1 : of.columns, by_z = of.turned ? of.n : 1, each = of.n * of.columns;
  const long long chunks = (of.columns + THIN - 1) / THIN;
  one.output(0, of.batch * each);
  one.sizes({of.m, of.n, of.columns, d.lies.down(), d.lies.each(), z.lies.down(), z.lies.each(), by_d, by_z, each, tile,
             chunks});
  one.number(0, THIN_SCALE);
  run(one, grid, (unsigned int)(of.batch * chunks));
  for (long long n = 0; n < of.batch * each; n++) {
    const long long nth = n / each, own = n % each / of.columns, column = n % of.columns;
    Pair<double> sum = {0, 0};
    for (long long row = 0; row < of.m; row++) {
      sum = sum + d.get(nth, row, own) * z.get(nth, row, column);
    }
    look_at_number(one, nth * each + own * by_d + column * by_z, sum);
  }
}

inline void thin_products() {
  // Tangents of all factors, of one factor of each of two products, and of one side; wide warps take their time.
  const std::vector<unsigned int> few = {63, 6}, all = {63, 6, 21, 42};
  each(TYPES(thin_right), WARP > 4 ? few : all, [](const Entry &entry, unsigned int varies, Grid grid) {
    // One number; more rows than the blocks take at once; more depth than passes through a block's memory at once.
    thin_right(entry, varies, {1, 1, {1}, {1}, false, false}, grid);
    thin_right(entry, varies, {2 * ROWS_A_WARP * grid.blocks * grid.warps + 1, 1, {7}, {5}, true, false}, grid);
    thin_right(entry, varies, {3, 1, {517}, {16}, varies == 63, false}, grid);
    // Chunks that only the widest of the products has.
    for (bool turned : {false, true}) {
      thin_right(entry, varies, {2, 1, {9, 5, 1}, {1, 17, 16}, turned, false}, grid);
      thin_right(entry, varies, {3, 2, {3, 130}, {17, 2}, turned, !turned}, grid);
    }
  });
  each(TYPES(thin_left), {1, 2, 3}, [](const Entry &entry, unsigned int varies, Grid grid) {
    for (bool turned : {false, true}) {
      // One number; more columns than the blocks take at once; more rows than pass through a block's memory at once.
      thin_left(entry, varies, {1, 1, 1, 1, turned}, WARP, grid);
      thin_left(entry, varies, {3, 2 * WARP * grid.blocks + 1, 17, 1, turned}, WARP, grid);
      thin_left(entry, varies, {261, WARP + 1, 5, 1, turned}, WARP / 2, grid);
      thin_left(entry, varies, {9, 7, 48, 2, turned}, WARP / 2, grid);
    }
  });
}
} // namespace check
