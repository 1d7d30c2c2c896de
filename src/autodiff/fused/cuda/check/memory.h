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
  void poison() const { poison(0, count); }
  void poison(long long first, long long some) const {
    memset((char *)address() + (size_t)first * bytes_of(kind), 0xff, (size_t)some * bytes_of(kind));
  }

  // As it was before a launch: all poisoned, or what is to be kept with poison where a kernel is to write.
  void restore() const {
    if (before.empty()) {
      poison();
    } else {
      memcpy(address(), before.data(), bytes);
    }
  }

  // From here on `restore` brings back the present numbers.
  void keep() { before.assign((const char *)address(), (const char *)address() + bytes); }
  bool is_kept() const { return !before.empty(); }

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
      return;
    }
    float narrow = (float)x;
    unsigned int bits;
    memcpy(&bits, &narrow, sizeof bits);
    if (kind == Kind::f32) {
      ((unsigned int *)address())[i] = bits;
    } else {
      // Which of two neighbours it becomes does not matter here.
      ((unsigned short *)address())[i] = (unsigned short)(bits >> 16);
    }
  }

  // The bits of number i, and whether they are still poison.
  unsigned long long bits(long long i) const {
    unsigned long long bits = POISON;
    memcpy(&bits, (const char *)address() + (size_t)i * bytes_of(kind), bytes_of(kind));
    return bits;
  }
  bool written(long long i) const { return bits(i) != POISON; }
  static constexpr unsigned long long POISON = ~0ull;

  Kind kind;
  long long count;
  // Whether a kernel may write an infinity.
  bool may_be_infinite = false;

private:
  std::vector<char> before;
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
