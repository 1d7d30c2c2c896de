// What stands around products, and products of a few rows.
#pragma once
#include "shapes.h"

namespace check {
inline void biases() {
  for (long long halves : {1, 2}) {
    each_shape(PLAIN_TYPES(rows_of_bias), {0}, [=](Case one, long long rows, long long width, Grid grid) {
      one.input(0, width);
      one.output(0, halves * rows * width);
      one.sizes({rows * width, width, halves});
      run(one, grid);
    });
  }
}

// Rows that begin where as many numbers can be moved at once, and how far they lie apart.
inline long long even(long long width, long long at_once) { return (width + at_once - 1) / at_once * at_once; }
inline long long pitch(long long width, long long at_once) { return width + (at_once == 4 ? 4 : 5); }

// Rows lie apart, and what stands between them is not there behind the last.
inline void planes(long long planes, long long at_once) {
  each_shape({{"planes_f32", planes_f32, Kind::f32, false}}, {0},
             [=](Case one, long long rows, long long columns, Grid grid) {
               const long long width = even(columns, at_once), apart = pitch(width, at_once), count = rows * width;
               const Buffer x = one.input(0, (rows - 1) * apart + width);
               one.output(0, planes * count, Kind::bf16);
               one.sizes({count, width, apart, planes});
               run(one, grid);
               for (long long n = 0; planes == 3 && n < count; n++) {
                 double sum = 0;
                 for (long long plane = 0; plane < planes; plane++) {
                   sum += one.outputs[0].get(plane * count + n);
                 }
                 if (sum != x.get(n / width * apart + n % width)) {
                   fail("planes_f32: the planes of number %lld do not add up to it", n);
                 }
               }
             });
}

inline void planes() {
  for (long long at_once : {1, 4}) {
    for (long long count : {1, 2, 3}) {
      planes(count, at_once);
    }
  }
}

// Numbers of rows that lie apart, and nothing behind the last.
inline Buffer rows_apart(Kind kind, long long rows, long long width, long long apart) {
  return numbers(kind, (rows - 1) * apart + width);
}

// Low-rank factors beside x, of the value and the tangent or of one of them, and ones for a bias.
inline void beside_x(long long halves, long long bias, long long at_once) {
  const std::vector<long long> columns = {1, 3, 2};
  const long long extra = bias ? 16 : 8;
  each_shape({{"extend_left_f32", extend_left_f32, Kind::f32, false}}, {0},
             [=](Case one, long long rows, long long x_columns, Grid grid) {
               const long long width = even(x_columns, at_once), apart = pitch(width, at_once), depth = width + extra;
               const long long count = halves * rows * depth, factors = (long long)columns.size();
               one.input(0, rows_apart(Kind::f32, halves * rows, width, apart));
               one.output(0, count, Kind::bf16);
               one.sizes({count, width, apart, rows, extra, bias, factors});
               for (int factor = 0; factor < 3; factor++) {
                 const long long own = columns[factor], apart = own + factor;
                 if (factor != 1) {
                   one.input(1 + factor, rows_apart(Kind::f32, rows, own, apart));
                 }
                 if (factor != 2 && halves == 2) {
                   one.tangent(1 + factor, rows_apart(Kind::f32, rows, own, apart));
                 }
                 one.params.size[8 + 2 * factor] = own;
                 one.params.size[9 + 2 * factor] = apart;
               }
               run(one, grid);
               // The ones, and the zeros behind them.
               for (long long row = 0; row < halves * rows; row++) {
                 look_at_sum(one, 0, row * depth + width + 6, extra - 6, row < rows ? (double)bias : 0);
               }
             });
}

// And beside or below a frozen matrix, which is to stay; factors as they are stored, or turned.
inline void beside_w(bool forward, bool biased) {
  // Four for the factors, three for a bias and one of zeros.
  const long long extra = 8, depths[] = {1, 3};
  each_shape({{"extend_right_f32", extend_right_f32, Kind::f32, false}}, {0},
             [=](Case one, long long out, long long width, Grid grid) {
               const long long stride = width + extra + 3, all = forward ? out : width;
               const long long lines = forward ? out : extra, line = forward ? extra : width;
               const long long first = forward ? width : out * stride;
               Buffer w = numbers(Kind::bf16, first + (lines - 1) * stride + line);
               for (long long i = 0; i < lines; i++) {
                 w.poison(first + i * stride, line);
               }
               one.in_place(0, w);
               one.sizes({extra * all, extra, out, width, stride, forward, 2});
               for (int factor = 0; factor < 2; factor++) {
                 const long long depth = depths[factor], first_column = factor ? all / 2 : 0;
                 const long long columns = factor ? all - all / 2 : (all + 1) / 2;
                 const long long down = forward ? 1 : columns + 1, across = forward ? depth + 1 : 1;
                 one.input(factor, numbers(Kind::f32, (depth - 1) * down + (columns - 1) * across + 1));
                 const long long sizes[] = {depth, first_column, columns, down, across};
                 std::copy(sizes, sizes + 5, one.params.size + 8 + 5 * factor);
               }
               if (biased) {
                 one.table(0, numbers(Kind::f32, all));
               }
               run(one, grid);
             });
}

inline void beside_a_matrix() {
  for (long long halves : {1, 2}) {
    for (long long at_once : {1, 4}) {
      beside_x(halves, 0, at_once);
      beside_x(halves, 3, at_once);
    }
  }
  for (bool forward : {true, false}) {
    beside_w(forward, true);
    beside_w(forward, false);
  }
}

// What a product of a few rows is of: its rows and shape, whether rows lie for wide reads, and its low-rank terms.
struct FewRows {
  long long rows, columns, depth;
  bool wide;
  int terms;
};

inline void few_rows(const Entry &entry, Kind weights, const FewRows &of, long long parts, Grid grid) {
  const long long apart = of.wide ? (of.depth + 15) / 8 * 8 : of.depth + 1, ranks[] = {3, 1, 5};
  const long long stride_of_z = of.terms ? 6 : 0;
  Case one(entry, 0);
  one.input(0, rows_apart(entry.kind, of.rows, of.depth, apart));
  one.input(1, rows_apart(weights, of.columns, of.depth, apart));
  one.output(0, of.rows * of.columns);
  one.sizes({of.rows, of.columns, of.depth, apart, apart, of.wide ? of.depth / 8 : 0, parts, stride_of_z});
  for (int term = 0; term < of.terms; term++) {
    const long long first = term ? of.columns / 2 : 0, columns = term == 1 ? 1 : of.columns - first;
    one.input(2 + 2 * term, rows_apart(entry.kind, of.rows, ranks[term], stride_of_z));
    one.input(3 + 2 * term, columns * ranks[term]);
    const long long sizes[] = {first, columns, ranks[term]};
    std::copy(sizes, sizes + 3, one.params.size + LOW_SIZES + 3 * term);
  }
  if (of.terms != 1) {
    one.table(0, numbers(entry.kind, of.columns));
  }
  one.number(0, 1.75);
  run(one, grid);
}

// In all its types, with as many rows as it has room for, and with the fewest that it is called for.
inline void few_rows(const Entries &entries, const std::vector<long long> &rows) {
  for (const Entry &entry : entries) {
    const Kind weights = strstr(entry.name, "_by_bf16") ? Kind::bf16 : entry.kind;
    for (long long some : rows) {
      for (Grid grid : GRIDS) {
        few_rows(entry, weights, {some, 1, 1, false, 0}, 1, grid);
        few_rows(entry, weights, {some, 5, 131, true, 1}, 1, grid);
        few_rows(entry, weights, {some, 9, 131, false, 3}, grid.warps, grid);
        // Columns of which each is for some warps of several.
        few_rows(entry, weights, {some, 7, 8 * WARP * 11 + 3, true, 3}, grid.warps, {grid.blocks, 2 * grid.warps});
      }
    }
  }
}
#define FEW_ROWS_TYPES(rows)                                                                                           \
  {                                                                                                                    \
    {"few_rows_" #rows "_f32", few_rows_##rows##_f32, Kind::f32, false},                                               \
        {"few_rows_" #rows "_f64", few_rows_##rows##_f64, Kind::f64, false},                                           \
        {"few_rows_" #rows "_by_bf16_f32", few_rows_##rows##_by_bf16_f32, Kind::f32, false},                           \
  }

inline void few_rows() {
  few_rows(FEW_ROWS_TYPES(1), {1});
  few_rows(FEW_ROWS_TYPES(2), {2});
  few_rows(FEW_ROWS_TYPES(4), {3, 4});
  few_rows(FEW_ROWS_TYPES(8), {5, 8});
}
} // namespace check
