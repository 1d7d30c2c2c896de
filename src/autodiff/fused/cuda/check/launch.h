// A launch of a kernel under a sanitizer, and what must hold of any: all that it is to write is written and finite, and
// no two blocks write one place or need what the other writes.
#pragma once
#include "../host.cpp"
#include "memory.h"
#include <set>

namespace check {
typedef void (*Kernel)(const Params);

// A kernel in one of its types.
struct Entry {
  const char *name;
  Kernel kernel;
  Kind kind;
  bool dual;
};

// How a launch shares its work: blocks, and warps of each.
struct Grid {
  unsigned int blocks, warps;
};

#if defined(HOST_THREADS) || WARP > 4
// Many threads take their time.
constexpr Grid GRIDS[] = {{2, 2}};
#else
// Too few threads for the work, and too many.
constexpr Grid GRIDS[] = {{1, 1}, {2, 2}, {3, 3}};
#endif

// Parameters and the memory that they point to.
class Case {
public:
  // Of a dual kernel, input i varies if bit i of `varies` is set.
  Case(const Entry &entry, unsigned int varies) : entry(entry), varies(entry.dual ? varies : 0) {}

  Buffer input(int index, long long count, bool positive = false) {
    if (varies >> index & 1) {
      params.in_tangent[index] = keep(numbers(entry.kind, count)).address();
    }
    Buffer made = keep(numbers(entry.kind, count, positive));
    params.in[index] = made.address();
    return made;
  }

  void output(int index, long long count) { output(index, count, entry.kind); }

  void output(int index, long long count, Kind kind) {
    params.out[index] = outputs.emplace_back(kind, count).address();
    if (entry.dual) {
      params.out_tangent[index] = outputs.emplace_back(kind, count).address();
    }
  }

  void table(int index, const Buffer &made) { params.table[index] = keep(made).address(); }

  void sizes(std::initializer_list<long long> sizes) { std::copy(sizes.begin(), sizes.end(), params.size); }

  void number(int index, double x) {
    if (float narrow = (float)x; entry.kind == Kind::f32) {
      memcpy(&params.number[index], &narrow, sizeof narrow);
    } else {
      memcpy(&params.number[index], &x, sizeof x);
    }
  }

  Entry entry;
  Params params = {};
  // The values of output 0, its tangents if the kernel is dual, those of output 1, and so on.
  std::vector<Buffer> outputs;

private:
  Buffer keep(const Buffer &made) { return inputs.emplace_back(made); }

  unsigned int varies;
  std::vector<Buffer> inputs;
};

inline void launch_block(const Entry &entry, const Params &params, unsigned int x, unsigned int y) {
  host::block_index = {x, y, 0};
  host::body = [&] { entry.kernel(params); };
  host::run_block(host::block_size.x);
}

inline void poison(const std::vector<Buffer> &outputs) {
  for (const Buffer &output : outputs) {
    output.poison();
  }
}

// Bits of all numbers of some outputs, one after another.
inline std::vector<unsigned long long> bits(const std::vector<Buffer> &outputs) {
  std::vector<unsigned long long> all;
  for (const Buffer &output : outputs) {
    for (long long i = 0; i < output.count; i++) {
      all.push_back(output.bits(i));
    }
  }
  return all;
}

// A kernel's numbers must be there and finite.
inline void look(const Entry &entry, const std::vector<Buffer> &outputs) {
  for (size_t output = 0; output < outputs.size(); output++) {
    for (long long i = 0; i < outputs[output].count; i++) {
      if (!outputs[output].written(i) || !std::isfinite(outputs[output].get(i))) {
        fail("%s: number %lld of %lld in output buffer %zu is %s", entry.name, i, outputs[output].count, output,
             outputs[output].written(i) ? "not finite" : "not written");
      }
    }
  }
}

// Runs every block as if it were alone, and gives what they write together: each place is for one block.
inline std::vector<unsigned long long> run_blocks(const Entry &entry, const Params &params,
                                                  const std::vector<Buffer> &outputs) {
  std::vector<unsigned long long> all;
  for (unsigned int y = 0; y < host::grid_size.y; y++) {
    for (unsigned int x = 0; x < host::grid_size.x; x++) {
      poison(outputs);
      launch_block(entry, params, x, y);
      const std::vector<unsigned long long> own = bits(outputs);
      all.resize(own.size(), ~0ull);
      for (size_t i = 0; i < own.size(); i++) {
        if (own[i] != ~0ull && all[i] != ~0ull) {
          fail("%s: block (%u, %u) writes number %zu of its outputs, as a block before it does", entry.name, x, y, i);
        }
        all[i] &= own[i];
      }
    }
  }
  return all;
}

inline size_t launches = 0;
inline std::set<Kernel> launched;

// Launches a kernel over `sets` sets of tensors and looks at what it wrote, which is left in place.
inline void run(const Entry &entry, const Params &params, Grid grid, unsigned int sets,
                const std::vector<Buffer> &outputs) {
  unsigned int blocks[2] = {grid.blocks, sets}, threads = grid.warps * WARP;
  host::block_size = {threads, 1, 1};
  host::grid_size = {grid.blocks, sets, 1};
  const std::vector<unsigned long long> apart = run_blocks(entry, params, outputs);
  poison(outputs);
  host_launch(entry.kernel, &params, blocks, threads);
  look(entry, outputs);
  if (bits(outputs) != apart) {
    fail("%s: a block needs what another block writes", entry.name);
  }
  launches++;
  launched.insert(entry.kernel);
}

inline void run(const Case &one, Grid grid) { run(one.entry, one.params, grid, 1, one.outputs); }
} // namespace check
