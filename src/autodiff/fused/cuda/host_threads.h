// The threads of a block as threads of the machine, so that ThreadSanitizer sees a missing barrier, and two threads
// that write one place, as the races that they are.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sched.h>
#include <thread>

namespace host {
inline thread_local size_t running = 0;
// What each thread of a block shows to the others.
inline std::atomic<unsigned long long> shown[1024];

// Where the threads of a block or of a warp wait for each other.
struct Meeting {
  // How often threads have come, and how many have left the kernel.
  std::atomic<size_t> come, left;
};
inline Meeting of_beginnings, of_block, of_warp[1024 / WARP];

// Waits until all have come here as often as this thread.
template <std::memory_order ARRIVE, std::memory_order GO_ON> void meet(Meeting &meeting, size_t all) {
  size_t wanted = (meeting.come.fetch_add(1, ARRIVE) / all + 1) * all;
  while (meeting.come.load(GO_ON) < wanted) {
    if (meeting.left.load(std::memory_order_relaxed) && meeting.come.load(GO_ON) < wanted) {
      fprintf(stderr, "error: a thread waits at a barrier or a shuffle that another thread leaves out\n");
      _Exit(1);
    }
    sched_yield();
  }
}

// What was written before it can be read behind it.
inline void barrier() { meet<std::memory_order_acq_rel, std::memory_order_acquire>(of_block, block_size.x); }

// A shuffle brings its number across and, as on a card, orders no other memory: hence relaxed, which ThreadSanitizer
// does not take for an order.
inline void meet_warp() {
  meet<std::memory_order_relaxed, std::memory_order_relaxed>(of_warp[running / WARP], WARP);
}

template <class T> T exchange(T x, int lane) {
  static_assert(sizeof(T) <= sizeof(unsigned long long), "a number");
  unsigned long long bits = 0;
  memcpy(&bits, &x, sizeof x);
  shown[running].store(bits, std::memory_order_relaxed);
  meet_warp();
  bits = shown[running ^ (size_t)lane].load(std::memory_order_relaxed);
  meet_warp();
  T other;
  memcpy(&other, &bits, sizeof other);
  return other;
}

// Threads that wait for the next block, for to make some for each would take most of the time.
struct Crew {
  std::mutex mutex;
  std::condition_variable begun, done;
  // Blocks so far; threads of the present one, and those still at it; threads that there are.
  size_t block = 0, threads = 0, busy = 0, made = 0;
};
// Never destroyed: its threads wait until the process ends.
inline Crew &crew = *new Crew;

inline void work(size_t thread) {
  running = thread;
  std::unique_lock<std::mutex> lock(crew.mutex);
  for (size_t last = 0;;) {
    crew.begun.wait(lock, [&] { return crew.block > last && thread < crew.threads; });
    last = crew.block;
    lock.unlock();
    // Who began behind another's end would be in order with it, and no race be seen.
    meet<std::memory_order_relaxed, std::memory_order_relaxed>(of_beginnings, block_size.x);
    body();
    of_block.left.fetch_add(1, std::memory_order_relaxed);
    of_warp[thread / WARP].left.fetch_add(1, std::memory_order_relaxed);
    lock.lock();
    if (--crew.busy == 0) {
      crew.done.notify_one();
    }
  }
}

inline void run_block(size_t threads) {
  std::unique_lock<std::mutex> lock(crew.mutex);
  of_beginnings.come = of_block.come = of_block.left = 0;
  for (size_t warp = 0; warp < threads / WARP; warp++) {
    of_warp[warp].come = of_warp[warp].left = 0;
  }
  crew.block++;
  crew.threads = crew.busy = threads;
  for (; crew.made < threads; crew.made++) {
    std::thread(work, crew.made).detach();
  }
  crew.begun.notify_all();
  crew.done.wait(lock, [] { return crew.busy == 0; });
}
} // namespace host
