// Memory for kernels under a sanitizer: each buffer alone and not a byte too large, so that a stray read or write
// leaves it.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace check {
// Says what is wrong and ends the process.
template <class... Words> [[noreturn]] void fail(const char *format, Words... words) {
  fprintf(stderr, "error: ");
  fprintf(stderr, format, words...);
  fprintf(stderr, "\n");
  exit(1);
}

// What numbers are.
enum class Kind { f32, f64, bf16 };
inline size_t bytes_of(Kind kind) { return kind == Kind::f32 ? 4 : kind == Kind::f64 ? 8 : 2; }

class Buffer {
public:
  Buffer(Kind kind, long long count)
      : kind(kind), count(count), bytes((size_t)count * bytes_of(kind)), memory(malloc(bytes), free) {}

  void *address() const { return memory.get(); }

  // In every type that kernels write these bytes are no number.
  void poison() const { memset(address(), 0xff, bytes); }

  double get(long long i) const {
    if (kind == Kind::f64) {
      return ((const double *)address())[i];
    }
    unsigned int bits = kind == Kind::f32 ? ((const unsigned int *)address())[i]
                                          : (unsigned int)((const unsigned short *)address())[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
  }

  void set(long long i, double x) const {
    if (kind == Kind::f64) {
      ((double *)address())[i] = x;
    } else {
      ((float *)address())[i] = (float)x;
    }
  }

  // The bits of number i, and whether they were written since they were poisoned.
  unsigned long long bits(long long i) const {
    unsigned long long bits = ~0ull;
    memcpy(&bits, (const char *)address() + (size_t)i * bytes_of(kind), bytes_of(kind));
    return bits;
  }
  bool written(long long i) const { return bits(i) != ~0ull; }

  Kind kind;
  long long count;

private:
  size_t bytes;
  std::shared_ptr<void> memory;
};

// Numbers of size one half to three halves, always the same; with both signs or positive.
inline Buffer numbers(Kind kind, long long count, bool positive = false) {
  Buffer made(kind, count);
  unsigned int state = 1 + (unsigned int)count;
  for (long long i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    double x = 0.5 + (state >> 8) / 16777216.0;
    made.set(i, positive || state >> 31 ? x : -x);
  }
  return made;
}

// A table of row numbers or token ids.
inline Buffer table(const std::vector<unsigned int> &entries) {
  Buffer made(Kind::f32, (long long)entries.size());
  if (!entries.empty()) {
    memcpy(made.address(), entries.data(), entries.size() * sizeof entries[0]);
  }
  return made;
}
} // namespace check
