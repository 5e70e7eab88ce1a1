// The job system of the example, as an engine has one: a few threads, tasks that take a while, and parts of one piece
// of work that its starter waits for. libfqgan runs its work as parts, through fqgan_parallel_fn.
#ifndef WALL_JOBS_HPP
#define WALL_JOBS_HPP

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

class Jobs {
 public:
  explicit Jobs(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) threads_.emplace_back([this] { work(); });
  }
  ~Jobs() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    wake_.notify_all();
    for (std::thread &thread : threads_) thread.join();
  }
  Jobs(const Jobs &) = delete;
  Jobs &operator=(const Jobs &) = delete;

  // Runs a task some time.
  void start(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }

  // What RuntimeOptions::parallel is set to, with the Jobs as parallel_user.
  static void parallel(void *user, std::size_t count, void (*job)(void *, std::size_t), void *context) {
    static_cast<Jobs *>(user)->run(count, job, context);
  }

 private:
  // A piece of work in parts. It lives with its starter, which waits.
  struct Run {
    void (*job)(void *, std::size_t);
    void *context;
    std::size_t count, next = 0, done = 0;
    std::condition_variable finished;
  };

  // The starter takes parts of its own run only: another's part may be long, and a task longer.
  void run(std::size_t count, void (*job)(void *, std::size_t), void *context) {
    std::unique_lock<std::mutex> lock(mutex_);
    Run run{job, context, count, 0, 0, {}};
    if (count > 1) {
      runs_.push_back(&run);
      wake_.notify_all();
    }
    while (run.next < run.count) part(run, lock);
    run.finished.wait(lock, [&] { return run.done == run.count; });
  }

  // One part, without the lock.
  void part(Run &run, std::unique_lock<std::mutex> &lock) {
    const std::size_t index = run.next++;
    if (run.next == run.count) {
      for (auto at = runs_.begin(); at != runs_.end(); ++at) {
        if (*at == &run) {
          runs_.erase(at);
          break;
        }
      }
    }
    lock.unlock();
    run.job(run.context, index);
    lock.lock();
    if (++run.done == run.count) run.finished.notify_one();
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return over_ || !runs_.empty() || !tasks_.empty(); });
      // Parts first: somebody waits for them.
      if (!runs_.empty()) {
        part(*runs_.front(), lock);
      } else if (over_) {
        return;
      } else {
        const std::function<void()> task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        task();
        lock.lock();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::deque<Run *> runs_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

#endif
