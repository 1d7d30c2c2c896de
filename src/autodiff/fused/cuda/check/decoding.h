// What decoding does beside products.
#pragma once
#include "shapes.h"

namespace check {
// A new token's place in a cache, and how many blocks share a head.
struct NextToken {
  long long width, slots, slot;
  std::vector<unsigned int> pads;
  bool normed;
  unsigned int blocks;
};

constexpr long long HEADS = 4, KEY_HEADS = 2;

// All values of a key head are this, and so must be what its heads make of them.
inline double value_of(long long key_head) { return 1 + (double)key_head / 2; }
inline void look_at_heads(const Case &one, long long heads, long long width) {
  for (long long head = 0; head < heads; head++) {
    look_at_sum(one, 0, head * width, width, (double)width * value_of(head % HEADS / (HEADS / KEY_HEADS)));
  }
}

// Puts together what several blocks have of each head.
inline void merge(const Case &one, long long heads, const NextToken &next, Grid grid) {
  const Entries entries = PLAIN_TYPES(attend_merge);
  Case merged(entries[one.entry.kind == Kind::f64], 0);
  merged.input(0, one.outputs.back());
  merged.output(0, heads * next.width);
  merged.sizes({heads, next.width, next.blocks});
  run(merged, grid);
  look_at_heads(merged, heads, next.width);
}

// Keys and values of the tokens so far. Slots behind the new token's have nothing that may be read.
inline void caches(Case &one, const NextToken &next) {
  const long long rows = (long long)next.pads.size(), width = next.width;
  for (int which : {1, 2}) {
    Buffer cache = numbers(one.entry.kind, rows * KEY_HEADS * next.slots * width);
    for (long long i = 0; which == 2 && i < cache.count; i++) {
      cache.set(i, value_of(i / (next.slots * width) % KEY_HEADS));
    }
    for (long long head = 0; head < rows * KEY_HEADS; head++) {
      const long long first = (head * next.slots + next.slot) * width;
      cache.poison(first, width);
      for (long long i = first + width; i < (head + 1) * next.slots * width; i++) {
        cache.set(i, INFINITY);
      }
    }
    cache.may_be_infinite = true;
    one.in_place(which, cache);
  }
}

inline void attend(const Entry &entry, const NextToken &next, Grid grid) {
  const long long rows = (long long)next.pads.size(), width = next.width, side_by_side = HEADS + 2 * KEY_HEADS;
  Case one(entry, 0);
  const Buffer qkv = one.input(0, rows * side_by_side * width);
  for (long long i = 0; i < qkv.count; i++) {
    const long long key_head = i / width % side_by_side - HEADS - KEY_HEADS;
    if (key_head >= 0) {
      qkv.set(i, value_of(key_head));
    }
  }
  if (next.normed) {
    one.input(1, width);
    one.input(2, width);
  }
  if (next.blocks == 1) {
    one.output(0, rows * HEADS * width);
  }
  caches(one, next);
  for (int index : {0, 1}) {
    one.table(index, numbers(entry.kind, (next.slot + 1) * width / 2));
  }
  one.table(2, table(next.pads));
  if (next.blocks > 1) {
    one.output(3, rows * HEADS * next.blocks * (width + 2));
  }
  one.sizes({rows * HEADS, HEADS, KEY_HEADS, width, next.slots, next.slot});
  one.number(0, 0.25);
  one.number(1, 1e-6);
  run(one, grid, next.blocks);
  if (next.blocks == 1) {
    look_at_heads(one, rows * HEADS, width);
  } else {
    merge(one, rows * HEADS, next, grid);
  }
}

// Heads as wide as a kernel takes them, and as narrow.
inline void attention(const Entries &entries, long long numbers_of_a_lane) {
  const long long widest = numbers_of_a_lane * WARP, narrowest = numbers_of_a_lane / 2 * WARP + 2;
  each(entries, {0}, [=](const Entry &entry, unsigned int, Grid grid) {
    attend(entry, {widest, 1, 0, {0}, false, 1}, grid);
    attend(entry, {narrowest, 41, 38, {0, 17}, true, 1}, grid);
    attend(entry, {widest, 19, 18, {18, 3}, true, 3}, grid);
    // More blocks than keys, and a row that is all pads so far.
    attend(entry, {narrowest, 7, 4, {0, 6}, false, 7}, grid);
  });
}

inline void attention() {
  attention(PLAIN_TYPES(attend_1), 1);
  attention(PLAIN_TYPES(attend_2), 2);
  attention(PLAIN_TYPES(attend_4), 4);
  attention(PLAIN_TYPES(attend_8), 8);
}

// The first of equals, whichever blocks they fall to; a block without numbers has none.
inline void largest() {
  for (long long count : {1, 7, 33, 130}) {
    each(PLAIN_TYPES(largest), {0}, [=](const Entry &entry, unsigned int, Grid grid) {
      Case one(entry, 0);
      const Buffer x = one.input(0, count);
      x.set(count / 2, 2);
      x.set(count - 1, 2);
      one.output(0, 2 * grid.blocks);
      one.outputs.back().may_be_infinite = true;
      one.sizes({count});
      run(one, grid);
      double place = (double)count;
      for (unsigned int block = 0; block < grid.blocks; block++) {
        if (one.outputs[0].get(block) == 2) {
          place = std::fmin(place, one.outputs[0].get(grid.blocks + block));
        }
      }
      if (place != (double)(count / 2)) {
        fail("%s: the largest of %lld numbers is found at %g, not %lld", entry.name, count, place, count / 2);
      }
    });
  }
}
} // namespace check
