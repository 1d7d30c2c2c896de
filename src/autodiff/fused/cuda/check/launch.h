// A launch of a kernel under a sanitizer, and what must hold of any: all that it is to write is written and finite, all
// else is left as it was, and no two blocks write one place or need what the other writes.
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
      params.in_tangent[index] = hold(numbers(entry.kind, count)).address();
    }
    Buffer made = hold(numbers(entry.kind, count, positive));
    params.in[index] = made.address();
    return made;
  }

  void input(int index, const Buffer &made) { params.in[index] = hold(made).address(); }
  void tangent(int index, const Buffer &made) { params.in_tangent[index] = hold(made).address(); }

  void output(int index, long long count) { output(index, count, entry.kind); }

  // What is kept in bf16 of a kernel that computes in f32 is narrow.
  void output(int index, long long count, Kind kind) {
    params.narrow_out |= (long long)(kind == Kind::bf16) << index;
    params.out[index] = outputs.emplace_back(kind, count).address();
    if (entry.dual) {
      params.out_tangent[index] = outputs.emplace_back(kind, count).address();
    }
  }

  // An output that is written where it is poison, by several blocks if they write the same, and kept elsewhere.
  void in_place(int index, Buffer made) {
    made.keep();
    params.out[index] = outputs.emplace_back(made).address();
  }

  void table(int index, const Buffer &made) { params.table[index] = hold(made).address(); }

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
  Buffer hold(const Buffer &made) { return inputs.emplace_back(made); }

  unsigned int varies;
  std::vector<Buffer> inputs;
};

inline void launch_block(const Entry &entry, const Params &params, unsigned int x, unsigned int y) {
  host::block_index = {x, y, 0};
  host::body = [&] { entry.kernel(params); };
  host::run_block(host::block_size.x);
}

inline void restore(const std::vector<Buffer> &outputs) {
  for (const Buffer &output : outputs) {
    output.restore();
  }
}

// Bits of all numbers of each output.
typedef std::vector<std::vector<unsigned long long>> Bits;
inline Bits bits(const std::vector<Buffer> &outputs) {
  Bits all;
  for (const Buffer &output : outputs) {
    all.emplace_back();
    for (long long i = 0; i < output.count; i++) {
      all.back().push_back(output.bits(i));
    }
  }
  return all;
}

// A kernel's numbers must be there and finite.
inline void look(const Entry &entry, const std::vector<Buffer> &outputs) {
  for (size_t output = 0; output < outputs.size(); output++) {
    const Buffer &of = outputs[output];
    for (long long i = 0; i < of.count; i++) {
      double x = of.get(i);
      if (!of.written(i) || std::isnan(x) || (std::isinf(x) && !of.may_be_infinite)) {
        fail("%s: number %lld of %lld in output buffer %zu is %s", entry.name, i, of.count, output,
             of.written(i) ? "not finite" : "not written");
      }
    }
  }
}

// Notes what a block wrote: each place is for one block, or for several that write the same.
inline void note(const Entry &entry, const std::vector<Buffer> &outputs, const Bits &before, Bits &all) {
  const Bits own = bits(outputs);
  for (size_t output = 0; output < outputs.size(); output++) {
    for (size_t i = 0; i < own[output].size(); i++) {
      const unsigned long long wrote = own[output][i], was = before[output][i];
      if (wrote == was) {
        continue;
      }
      const char *fault = nullptr;
      if (was != Buffer::POISON) {
        fault = "which is to stay";
      } else if (all[output][i] != was && !outputs[output].is_kept()) {
        fault = "as a block before it does";
      } else if (all[output][i] != was && all[output][i] != wrote) {
        fault = "as a block before it does, but not the same";
      }
      if (fault) {
        fail("%s: block (%u, %u) writes number %zu of output buffer %zu, %s", entry.name, host::block_index.x,
             host::block_index.y, i, output, fault);
      }
      all[output][i] = wrote;
    }
  }
}

// Runs every block as if it were alone, and gives what they write together.
inline Bits run_blocks(const Entry &entry, const Params &params, const std::vector<Buffer> &outputs) {
  restore(outputs);
  const Bits before = bits(outputs);
  Bits all = before;
  for (unsigned int y = 0; y < host::grid_size.y; y++) {
    for (unsigned int x = 0; x < host::grid_size.x; x++) {
      restore(outputs);
      launch_block(entry, params, x, y);
      note(entry, outputs, before, all);
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
  const Bits apart = run_blocks(entry, params, outputs);
  restore(outputs);
  host_launch(entry.kernel, &params, blocks, threads);
  look(entry, outputs);
  if (bits(outputs) != apart) {
    fail("%s: a block needs what another block writes", entry.name);
  }
  launches++;
  launched.insert(entry.kernel);
}

// Whether four numbers can be moved at once from where each tensor begins.
inline bool aligned(const Params &params) {
  const void *const *lists[] = {params.in, params.in_tangent, params.out, params.out_tangent};
  const size_t lengths[] = {std::size(params.in), std::size(params.in_tangent), std::size(params.out),
                            std::size(params.out_tangent)};
  for (int list = 0; list < 4; list++) {
    for (size_t nth = 0; nth < lengths[list]; nth++) {
      if ((unsigned long long)lists[list][nth] % 16 != 0) {
        return false;
      }
    }
  }
  return true;
}

// A number at a time, and then four where the kernel can.
inline void run(const Case &one, Grid grid, unsigned int second = 1) {
  run(one.entry, one.params, grid, second, one.outputs);
  if (one.entry.kind == Kind::f32 && aligned(one.params)) {
    Params several = one.params;
    several.at_once = 4;
    run(one.entry, several, grid, second, one.outputs);
  }
}

// Launches a kernel that finds the parameters of each set in a table.
inline void run_together(const std::vector<Case> &cases, Grid grid) {
  std::vector<Buffer> outputs;
  Buffer table(Kind::f64, (long long)(cases.size() * sizeof(Params) / 8));
  for (size_t set = 0; set < cases.size(); set++) {
    outputs.insert(outputs.end(), cases[set].outputs.begin(), cases[set].outputs.end());
    memcpy((Params *)table.address() + set, &cases[set].params, sizeof(Params));
  }
  Params params = {};
  params.table[0] = table.address();
  run(cases[0].entry, params, grid, (unsigned int)cases.size(), outputs);
}
} // namespace check
