#pragma GCC visibility push(default)
#include "c_api.h"
#pragma GCC visibility pop

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "kernels.h"

namespace lstm_impl {
namespace {

// Threads that wait for work. Never destroyed: the process may end while they wait.
class Threads {
 public:
  // Those of this process: a child of a fork has none of its parent's threads and makes its own.
  static Threads& here() {
    std::lock_guard<std::mutex> lock(instance_mutex());
    static const int registered = pthread_atfork(
        [] { instance_mutex().lock(); }, [] { instance_mutex().unlock(); },
        [] {
          instance() = nullptr;
          instance_mutex().unlock();
        });
    static_cast<void>(registered);
    if (instance() == nullptr) instance() = new Threads();
    return *instance();
  }

  void schedule(std::function<void()> work, int threads) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      // One more where all are busy and there may be more: callers may come side by side.
      if (waiting_ <= static_cast<int>(work_.size()) && started_ < std::max(threads - 1, most_)) {
        std::thread([this] { serve(); }).detach();
        ++started_;
      }
      work_.push_back(std::move(work));
    }
    some_.notify_one();
  }

  static int cpus() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }

 private:
  static std::mutex& instance_mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  static Threads*& instance() {
    static Threads* threads = nullptr;
    return threads;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++waiting_;
      some_.wait(lock, [this] { return !work_.empty(); });
      --waiting_;
      std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
      work = nullptr;
      lock.lock();
    }
  }

  const int most_ = cpus() - 1;
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> work_;
  int waiting_ = 0, started_ = 0;
};

thread_local std::string last_error;

Layer layer_of(const LstmLayer& given) {
  return {given.timesteps, given.batch, given.inputs,
          given.units,     given.batch_major != 0, given.reverse != 0};
}

// Runs `work` with the layer, the threads and a null pointer of the layer's type.
template <class Work>
std::int32_t run(const LstmLayer& given, const Work& work) {
  try {
    const Layer layer = layer_of(given);
    if (last_error = layer.problem(); !last_error.empty()) return 1;
    const int threads = given.threads > 0 ? given.threads : Threads::cpus();
    const Pool pool{[threads](std::function<void()> each) {
                      Threads::here().schedule(std::move(each), threads);
                    },
                    threads};
    if (given.bfloat16 != 0) {
      work(layer, pool, static_cast<BFloat16*>(nullptr));
    } else {
      work(layer, pool, static_cast<float*>(nullptr));
    }
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
}

// Takes pointers one after another.
class Pointers {
 public:
  explicit Pointers(void* const* first) : next_(first) {}
  template <class Value>
  Value* take() {
    return static_cast<Value*>(*next_++);
  }

 private:
  void* const* next_;
};

}  // namespace
}  // namespace lstm_impl

using lstm_impl::Layer;
using lstm_impl::Pointers;
using lstm_impl::Pool;

std::int32_t lstm_version() { return 1; }

const char* lstm_error() { return lstm_impl::last_error.c_str(); }

std::int64_t lstm_gates_size(const LstmLayer* layer) {
  return lstm_impl::layer_of(*layer).gates_size();
}

std::int64_t lstm_cells_size(const LstmLayer* layer) {
  return lstm_impl::layer_of(*layer).cells_size();
}

// Members of a braced list are evaluated in order.
std::int32_t lstm_forward(const LstmLayer* given, void* const* pointers) {
  return lstm_impl::run(*given, [&](const Layer& layer, const Pool& pool, auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    Pointers next(pointers);
    const auto read = [&] { return next.take<const Value>(); };
    const auto write = [&] { return next.take<Value>(); };
    lstm_impl::Forward<Value> call{layer,
                                   {read(), read(), read()},
                                   read(),
                                   read(),
                                   read(),
                                   next.take<const unsigned char>(),
                                   write(),
                                   write(),
                                   write(),
                                   write(),
                                   write(),
                                   write()};
    lstm_impl::forward(call, pool);
  });
}

std::int32_t lstm_backward(const LstmLayer* given, void* const* pointers) {
  return lstm_impl::run(*given, [&](const Layer& layer, const Pool& pool, auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    Pointers next(pointers);
    const auto read = [&] { return next.take<const Value>(); };
    const auto write = [&] { return next.take<Value>(); };
    lstm_impl::Backward<Value> call{layer,
                                    read(),
                                    read(),
                                    read(),
                                    read(),
                                    next.take<const unsigned char>(),
                                    read(),
                                    read(),
                                    read(),
                                    read(),
                                    read(),
                                    read(),
                                    next.take<float>(),
                                    write(),
                                    write(),
                                    write(),
                                    write(),
                                    write()};
    lstm_impl::backward(call, pool);
  });
}

std::int32_t lstm_input_gradient(const LstmLayer* given, void* const* pointers) {
  return lstm_impl::run(*given, [&](const Layer& layer, const Pool& pool, auto* typed) {
    using Value = std::remove_pointer_t<decltype(typed)>;
    Pointers next(pointers);
    const auto* kernel = next.take<const Value>();
    const auto* dz = next.take<const float>();
    lstm_impl::input_gradient(
        lstm_impl::InputGradient<Value>{layer, kernel, dz, next.take<Value>()}, pool);
  });
}
