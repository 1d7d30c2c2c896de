// The types, shapes and grids that kernels are run in.
#pragma once
#include "launch.h"

namespace check {
// A kernel's types.
#define TYPES(name)                                                                                                    \
  {                                                                                                                    \
    {#name "_f32", name##_f32, Kind::f32, false}, {#name "_f64", name##_f64, Kind::f64, false},                        \
        {#name "_f32_dual", name##_f32_dual, Kind::f32, true}, {#name "_f64_dual", name##_f64_dual, Kind::f64, true},  \
  }
// And of one that has no tangents.
#define PLAIN_TYPES(name)                                                                                              \
  { {#name "_f32", name##_f32, Kind::f32, false}, {#name "_f64", name##_f64, Kind::f64, false}, }
typedef std::vector<Entry> Entries;

constexpr long long ROWS[] = {1, 3, 33}, WIDTHS[] = {1, 7, 64, 130};

// Calls `with` for each type, each of some choices of inputs that vary, and each grid.
template <class F> void each(const Entries &entries, const std::vector<unsigned int> &varies, F with) {
  for (const Entry &entry : entries) {
    for (size_t choice = 0; choice < (entry.dual ? varies.size() : 1); choice++) {
      for (Grid grid : GRIDS) {
        with(entry, varies[choice], grid);
      }
    }
  }
}

// And for each shape.
template <class F> void each_shape(const Entries &entries, const std::vector<unsigned int> &varies, F with) {
  for (long long rows : ROWS) {
    for (long long width : WIDTHS) {
      each(entries, varies, [&](const Entry &entry, unsigned int varies, Grid grid) {
        with(Case(entry, varies), rows, width, grid);
      });
    }
  }
}

// The sum of a row of an output must be this.
inline void look_at_sum(const Case &one, size_t output, long long start, long long width, double wanted) {
  double sum = 0;
  for (long long i = start; i < start + width; i++) {
    sum += one.outputs[output].get(i);
  }
  if (!(std::fabs(sum - wanted) < 1e-4)) {
    fail("%s: the numbers from %lld to %lld of output buffer %zu add up to %g, not %g", one.entry.name, start,
         start + width, output, sum, wanted);
  }
}
} // namespace check
