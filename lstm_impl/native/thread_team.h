// A team of threads that share work in small segments, so that no thread waits for one that is
// missing.
//
// The work is a list of phases. A phase is a number of steps that are done in order. A step is a
// number of segments that may be done in any order. Each running thread claims segments. The
// calling thread does all of them if no other thread runs. In each step, the same thread preferably
// claims the same segment, because its cache has the segment's data. Another thread takes the
// segment at once if that thread has not started or was interrupted, and otherwise after some
// spins. The results do not depend on which thread computes them.
#ifndef LSTM_IMPL_NATIVE_THREAD_TEAM_H_
#define LSTM_IMPL_NATIVE_THREAD_TEAM_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "kernels.h"

namespace lstm_impl {

struct Phase {
  std::int64_t steps;
  int segments;
  std::function<void(std::int64_t step, int segment)> work;
  bool chained = false;  // a step of a segment needs that segment's step before, and no other's
  void (*leave)() = nullptr;  // what each thread does that may have worked on the phase, when it ends
};

// Returns the k-th number of [first, end), counted from the end in every other step. So each step
// first reads what the step before read last, which the cache still holds.
template <class Number>
Number alternating_order(std::int64_t step, Number k, Number first, Number end) {
  return step % 2 == 0 ? k : first + end - 1 - k;
}

class ThreadTeam {
 public:
  // Does all work on this thread and on up to `workers` - 1 threads of the pool. work: see
  // call_work(). The division of the work, and therefore each sum, does not depend on which threads
  // take part.
  static void run(std::vector<Phase> phases, int workers, double work, const Pool& pool) {
    const bool alone = pool.asleep && work < kWakingWork;
    auto team = std::make_shared<ThreadTeam>(std::move(phases), workers);
    // A helper may start after this function has returned. The helper keeps the team alive, finds
    // nothing to claim, and accesses nothing else.
    try {
      for (int worker = 1; worker < workers && !alone; ++worker) {
        pool.schedule([team, worker] { team->work(worker); });
      }
    } catch (const std::bad_alloc&) {
      // Helpers that were already scheduled may be running. Then fewer threads do all the work.
    }
    team->work(0);
  }

  ThreadTeam(std::vector<Phase> phases, int workers)
      : phases_(std::move(phases)), workers_(workers), here_(new Flag[workers]) {
    int most = 0;
    for (const Phase& phase : phases_) {
      ends_.push_back((ends_.empty() ? 0 : ends_.back()) +
                      (phase.chained ? std::min<std::int64_t>(1, phase.steps) : phase.steps));
      most = std::max(most, phase.segments);
      chains_.emplace_back(phase.chained ? new Chain[phase.segments] : nullptr);
    }
    claims_.reset(new Claim[most]);
    here_[0].value.store(true, std::memory_order_relaxed);
  }

  // Lets the processor pause for some tens of cycles.
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // `yield` does nothing on most CPUs, and the spins would end at once
#elif defined(__riscv)
    asm volatile(".4byte 0x100000f");  // `pause`, which CPUs without it do not see
#endif
  }

 private:
  // Each claim has its own cache line. Otherwise threads would wait for each other's writes.
  struct alignas(64) Claim {
    std::atomic<std::int64_t> step{-1};  // the last step in which the segment was claimed
  };
  struct alignas(64) Flag {
    std::atomic<bool> value{false};
  };
  // Chains are adjacent in memory, because a thread that looks for a chain reads all of them, and
  // they change rarely.
  struct Chain {
    std::atomic<std::int64_t> steps{0};  // that are done
    std::atomic<bool> taken{false};
  };

  // A pause takes tens of cycles, so this many pauses take tens of microseconds. This is many times
  // as long as the difference between two segments.
  static constexpr int kPatience = 1000;
  static constexpr int kYieldAfter = 2000;

  // This work takes twice as long as waking a thread, which takes 50 to 100 microseconds in a
  // virtual machine. A call with less work does not use threads that sleep.
  static constexpr double kWakingWork = 7e6;

  void work(int worker) {
    std::size_t phase = 0;
    for (;;) {
      const std::int64_t now = now_.load(std::memory_order_acquire);
      for (; phase < ends_.size() && now >= ends_[phase]; ++phase) {
        if (phases_[phase].leave != nullptr) phases_[phase].leave();
      }
      if (phase == ends_.size()) return;
      if (phases_[phase].chained) {
        follow(worker, phase, now);
        continue;
      }
      const int segments = phases_[phase].segments;
      const int first = first_of(worker, segments), end = first_of(worker + 1, segments);
      for (int k = first; k < end; ++k) {
        const int s = alternating_order(now, k, first, end);
        if (claim(s, now)) {
          here_[worker].value.store(true, std::memory_order_relaxed);
          do_segment(phase, now, s);
        }
      }
      wait(worker, phase, now);
    }
  }

  // Waits until the step is done, and meanwhile does segments that other threads have left.
  void wait(int worker, std::size_t phase, std::int64_t now) {
    const int segments = phases_[phase].segments;
    const bool free = phases_[phase].steps == 1;  // no later step has the same segments in cache
    int spins = 0;
    while (now_.load(std::memory_order_acquire) == now) {
      for (int other = 0; other < workers_; ++other) {
        if (other == worker) continue;
        const bool away = !here_[other].value.load(std::memory_order_relaxed);
        if (!free && !away && spins < kPatience) continue;
        // from its last segment on, which it would reach last
        const int first = first_of(other, segments), end = first_of(other + 1, segments);
        for (int k = end - 1; k >= first; --k) {
          const int s = alternating_order(now, k, first, end);
          if (!claim(s, now)) continue;
          if (!free) here_[other].value.store(false, std::memory_order_relaxed);
          do_segment(phase, now, s);
          spins = 0;
        }
      }
      rest(++spins);
    }
  }

  // Continues the chain that is furthest behind, until all chains are at their ends.
  void follow(int worker, std::size_t phase, std::int64_t now) {
    const Phase& one = phases_[phase];
    int spins = 0;
    while (now_.load(std::memory_order_acquire) == now) {
      const int found = furthest_behind(worker, phase);
      if (found < 0) {
        rest(++spins);
        continue;
      }
      Chain& chain = chains_[phase][found];
      if (chain.taken.exchange(true, std::memory_order_acquire)) continue;
      const std::int64_t step = chain.steps.load(std::memory_order_relaxed);
      if (step < one.steps) {
        one.work(step, found);
        chain.steps.store(step + 1, std::memory_order_relaxed);
        spins = 0;
      }
      chain.taken.store(false, std::memory_order_release);
      if (step + 1 == one.steps) count_segment(one, now);
    }
  }

  // Returns a chain that no thread has taken and that is not at its end, or -1. Of chains that are
  // equally far behind, it prefers the worker's own.
  int furthest_behind(int worker, std::size_t phase) const {
    const Phase& one = phases_[phase];
    std::int64_t least = one.steps;
    int found = -1, at = first_of(worker, one.segments);
    for (int n = 0; n < one.segments; ++n, at = at + 1 < one.segments ? at + 1 : 0) {
      const Chain& chain = chains_[phase][at];
      const std::int64_t steps = chain.steps.load(std::memory_order_relaxed);
      if (steps < least && !chain.taken.load(std::memory_order_relaxed)) {
        least = steps;
        found = at;
      }
    }
    return found;
  }

  static void rest(int spins) {
    if (spins < kYieldAfter) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }

  bool claim(int segment, std::int64_t now) {
    std::int64_t last = claims_[segment].step.load(std::memory_order_relaxed);
    // All segments of a finished step have been claimed, so a late thread gets none.
    return last < now &&
           claims_[segment].step.compare_exchange_strong(last, now, std::memory_order_acq_rel);
  }

  void do_segment(std::size_t phase, std::int64_t now, int segment) {
    const Phase& one = phases_[phase];
    one.work(now - (ends_[phase] - one.steps), segment);
    count_segment(one, now);
  }

  void count_segment(const Phase& one, std::int64_t now) {
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == one.segments) {
      done_.store(0, std::memory_order_relaxed);  // no thread counts before the next step is set
      now_.store(now + 1, std::memory_order_release);
    }
  }

  int first_of(int worker, int segments) const {
    return static_cast<int>(static_cast<std::int64_t>(worker) * segments / workers_);
  }

  const std::vector<Phase> phases_;
  const int workers_;
  std::vector<std::int64_t> ends_;  // of each phase, the number of the step after its last
  std::vector<std::unique_ptr<Chain[]>> chains_;  // of each phase that is chained
  std::unique_ptr<Claim[]> claims_;
  std::unique_ptr<Flag[]> here_;
  alignas(64) std::atomic<std::int64_t> now_{0};  // the step that is being done
  alignas(64) std::atomic<int> done_{0};          // segments of it that are done
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_THREAD_TEAM_H_
