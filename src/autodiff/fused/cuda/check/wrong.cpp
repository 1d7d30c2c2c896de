// Kernels with faults that a sanitizer must find, and one without: `wrong NAME` runs one. So scripts/check-kernels.sh
// --self-test shows that its checks can fail.
#include "launch.h"

using namespace check;

static const float *from(const Params &p) { return (const float *)p.in[0]; }
static float *to(const Params &p) { return (float *)p.out[0]; }

// Each number plus the sum over its block.
static void right(const Params p) {
  float sum = block_sum(from(p)[first_element()]);
  to(p)[first_element()] = from(p)[first_element()] + sum;
}

static void missing_barrier(const Params p) {
  __shared__ float first;
  if (threadIdx.x == 0) {
    first = from(p)[first_element()];
  }
  to(p)[first_element()] = first;
}

// Two threads, and two blocks, write one place; a block reads what the one before it wrote.
static void shared_place(const Params p) { to(p)[threadIdx.x / 2] = 1; }
static void needs_other_block(const Params p) { to(p)[first_element()] = blockIdx.x ? to(p)[threadIdx.x] : 1; }
static void shared_by_blocks(const Params p) {
  to(p)[threadIdx.x] = 1;
  to(p)[blockDim.x + threadIdx.x] = 1;
}

// A number that is to stay, and one that blocks may all write, if they write the same.
static void overwrites(const Params p) { ((float *)p.out[1])[0] = 1; }
static void differs_by_block(const Params p) { ((float *)p.out[1])[0] = (float)blockIdx.x; }

// A shuffle is taken for a barrier.
static void read_across_shuffle(const Params p) {
  to(p)[first_element()] = from(p)[first_element()];
  float sum = warp_sum(1.0f);
  float other = to(p)[first_element() ^ 1];
  __syncthreads();
  to(p)[first_element()] = other + sum;
}

static void barrier_for_some(const Params p) {
  if (threadIdx.x % 2) {
    __syncthreads();
  }
  to(p)[first_element()] = 1;
}

static void read_beyond(const Params p) { to(p)[first_element()] = from(p)[first_element() + 1]; }
static void write_beyond(const Params p) { to(p)[first_element() + 1] = 1; }
static void overflow(const Params p) { to(p)[first_element()] = (float)(0x7fffffff + (int)threadIdx.x); }
static void unwritten(const Params p) { to(p)[first_element() & ~1ll] = 1; }
static void infinite(const Params p) { to(p)[first_element()] = f_exp(1000 * from(p)[0] * from(p)[0]); }

#define NAMED(name) {#name, name, Kind::f32, false}

int main(int, char **arguments) {
  const Entry entries[] = {
      NAMED(right),         NAMED(missing_barrier),     NAMED(shared_place),
      NAMED(read_beyond),   NAMED(read_across_shuffle), NAMED(shared_by_blocks),
      NAMED(write_beyond),  NAMED(barrier_for_some),    NAMED(needs_other_block),
      NAMED(unwritten),     NAMED(infinite),            NAMED(overflow),
      NAMED(overwrites),    NAMED(differs_by_block),
  };
  for (const Entry &entry : entries) {
    if (!strcmp(entry.name, arguments[1])) {
      Case one(entry, 0);
      one.input(0, 2 * 2 * WARP);
      one.output(0, 2 * 2 * WARP);
      const Buffer kept = numbers(Kind::f32, 1);
      if (entry.kernel == differs_by_block) {
        kept.poison();
      }
      one.in_place(1, kept);
      run(one, {2, 2});
      return 0;
    }
  }
  fail("there is no kernel `%s`", arguments[1]);
}
