// Scratch memory. It is not initialised, it is aligned to a cache line, and it is kept for the next
// call.
//
// The memory is kept because pages that are given back to the system come again filled with zeros,
// with one page fault each. For a batch of one, this took a third as long as everything else.
// Whether malloc gives pages back depends on what else a process has allocated, so the time of the
// same call would vary.
//
// Blocks of several megabytes are requested in huge pages. Each step reads all weights, and in
// pages of 4 kB these are more pages than a processor can keep the addresses of.
#ifndef LSTM_IMPL_NATIVE_MEMORY_H_
#define LSTM_IMPL_NATIVE_MEMORY_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "vector.h"

#include <pthread.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lstm_impl {

// Holds the memory that nobody uses at the moment.
class Shelf {
 public:
  using Piece = std::pair<std::size_t, float*>;  // floats, and where

  // With the reserved space, giving a piece back allocates nothing and therefore cannot fail.
  Shelf() { free_.reserve(kMostPieces + 1); }

  // Returns the shelf of this process. It is never destroyed, because a thread may still work while
  // the process ends. In the child of a fork, nobody holds its lock.
  static Shelf& shared() {
    static Shelf* const shelf = [] {
      pthread_atfork([] { shared().mutex_.lock(); }, [] { shared().mutex_.unlock(); },
                     [] { shared().mutex_.unlock(); });
      return new Shelf;
    }();
    return *shelf;
  }

  // Takes at least `count` floats. Throws std::bad_alloc if there are not that many.
  Piece take(std::size_t count) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = std::find_if(free_.begin(), free_.end(), [count](const Piece& piece) {
        return piece.first >= count && piece.first <= 2 * count;
      });
      if (found != free_.end()) {
        const Piece piece = *found;
        free_.erase(found);
        kept_ -= piece.first;
        return piece;
      }
    }
    return {count, make(count)};
  }

  // The piece that was given last is found first, because it is still in the cache. The oldest
  // pieces are dropped to make room for it.
  void give(Piece piece) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.insert(free_.begin(), piece);
    kept_ += piece.first;
    while (kept_ > kMost || free_.size() > kMostPieces) {
      release(free_.back());
      kept_ -= free_.back().first;
      free_.pop_back();
    }
  }

 private:
  static constexpr std::align_val_t kLine{64}, kHugePage{1 << 21};

  static std::align_val_t alignment(std::size_t count) {
    return count * sizeof(float) < static_cast<std::size_t>(kHugePage) ? kLine : kHugePage;
  }

  static float* make(std::size_t count) {
    const std::align_val_t aligned = alignment(count);
    float* const to = static_cast<float*>(::operator new(count * sizeof(float), aligned));
#if defined(__linux__)
    // This is only a request. If there are no huge pages, small pages do the same.
    if (aligned == kHugePage) madvise(to, count * sizeof(float), MADV_HUGEPAGE);
#endif
    return to;
  }

  static void release(Piece piece) { ::operator delete(piece.second, alignment(piece.first)); }

  static constexpr std::size_t kMost =
      1 << 24;  // floats, 64 MB: twice what a layer of 1024 units needs
  static constexpr std::size_t kMostPieces = 32;

  std::mutex mutex_;
  std::vector<Piece> free_;
  std::size_t kept_ = 0;
};

class Floats {
 public:
  // Throws std::bad_alloc if there is not enough memory. For a count of zero, the constructor
  // requests nothing, which saves a small call a fiftieth of its time.
  explicit Floats(Index count) {
    if (count > 0) piece_ = Shelf::shared().take(static_cast<std::size_t>(count));
  }
  ~Floats() {
    if (piece_.second != nullptr) Shelf::shared().give(piece_);
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;

  float* get() const { return piece_.second; }

 private:
  Shelf::Piece piece_{0, nullptr};
};

// One buffer for each thread that may work at the same time. The buffers are allocated before the
// threads start. If a thread of a pool found no memory, nobody could catch the exception, and the
// process would end.
class Buffers {
 public:
  // Throws std::bad_alloc if there is not enough memory.
  Buffers(int count, Index size)
      : count_(count),
        stride_((size + kLine - 1) / kLine * kLine),
        memory_(count * stride_),
        // By way of `unsigned`, because GCC 12 would warn about what a negative number becomes.
        taken_(new std::atomic<bool>[static_cast<unsigned>(count)]) {
    for (int k = 0; k < count; ++k) taken_[k].store(false, std::memory_order_relaxed);
  }

  // A buffer that no other thread has, until it goes out of scope.
  class Buffer {
   public:
    explicit Buffer(const Buffers& all) : all_(all) {
      while (all_.taken_[at_].exchange(true, std::memory_order_acquire)) {
        at_ = at_ + 1 < all_.count_ ? at_ + 1 : 0;
      }
    }
    ~Buffer() { all_.taken_[at_].store(false, std::memory_order_release); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    float* get() const { return all_.memory_.get() + at_ * all_.stride_; }
    std::size_t number() const { return static_cast<std::size_t>(at_); }

   private:
    const Buffers& all_;
    int at_ = 0;
  };

 private:
  static constexpr Index kLine = 64 / sizeof(float);

  const int count_;
  const Index stride_;
  const Floats memory_;
  const std::unique_ptr<std::atomic<bool>[]> taken_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_MEMORY_H_
