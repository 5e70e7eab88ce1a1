// A wall of textures that stream in while frames go on, and a picture that is being made:
//   wall MODEL GENERATOR FOLDER [--demo SHOT.ppm]
// The .fqc files of FOLDER are decoded on the program's own job system (jobs.hpp), through fqgan_parallel_fn. Space
// makes a picture of the next class, row by row; C cancels it; Escape ends. --demo presses the keys by itself, saves
// what is on the screen at last, says how the frames went, and ends.
#include "jobs.hpp"
#include "screen.hpp"

#include <fqgan.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

// Pixels that wait for the drawing thread: textures are its own.
struct Decoded {
  std::size_t tile;
  std::uint32_t width, height;
  std::vector<unsigned char> rgba;
  std::string error;
};

Decoded decode(const fqgan::Tokenizer &tokenizer, const fqgan::Codes &codes, std::size_t tile) {
  const std::uint32_t f = tokenizer.info().downsample;
  Decoded to{tile, codes.grid_width * f, codes.grid_height * f, {}, {}};
  to.rgba.resize(std::size_t{to.width} * to.height * 4);
  tokenizer.decode(codes, fqgan::image(to.rgba.data(), to.width, to.height, FQGAN_PIXEL_RGBA8));
  return to;
}

// The .fqc files of a folder, decoded by tasks.
class Wall {
 public:
  struct Tile {
    GLuint texture = 0;
    bool failed = false;
  };
  std::vector<Tile> tiles;
  std::size_t ready = 0;

  Wall(Jobs &jobs, const fqgan::Tokenizer &tokenizer, const std::string &folder) {
    std::vector<std::filesystem::path> files;
    for (const auto &entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".fqc") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    tiles.resize(files.size());
    for (std::size_t i = 0; i < files.size(); i++) {
      // Tasks outlive nothing: the jobs end before the wall does.
      jobs.start([this, &tokenizer, i, file = files[i]] {
        Decoded made;
        try {
          std::ifstream in(file, std::ios::binary);
          const std::vector<unsigned char> bytes{std::istreambuf_iterator<char>(in), {}};
          made = decode(tokenizer, fqgan::Codes::unpack(bytes), i);
        } catch (const std::exception &error) {
          made = {i, 0, 0, {}, file.string() + ": " + error.what()};
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        decoded_.push_back(std::move(made));
      });
    }
  }

  // Uploads what is there, a few a frame.
  void upload() {
    for (int i = 0; i < 4; i++) {
      Decoded next;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (decoded_.empty()) return;
        next = std::move(decoded_.front());
        decoded_.pop_front();
      }
      ready++;
      if (next.error.empty()) {
        tiles[next.tile].texture =
            Screen::upload(0, next.rgba.data(), static_cast<int>(next.width), static_cast<int>(next.height));
      } else {
        tiles[next.tile].failed = true;
        std::cerr << "wall: " << next.error << '\n';
      }
    }
  }

 private:
  std::mutex mutex_;
  std::deque<Decoded> decoded_;
};

// A picture in the making, on a thread of its own: it takes long, and tasks are for short work.
class Live {
 public:
  std::uint32_t label = 0, rows = 0;
  unsigned cancelled = 0, finished = 0, updates = 0;
  bool running = false;
  GLuint texture = 0;

  Live(const fqgan::Generator &generator, const fqgan::Tokenizer &tokenizer)
      : generator_(generator), tokenizer_(tokenizer) {}
  ~Live() { stop(); }

  void start(std::uint32_t of) {
    stop();
    stop_ = false;
    running = true;
    label = of;
    rows = 0;
    thread_ = std::thread([this] { make(); });
  }
  void cancel() { stop_ = true; }

  // Takes rows that were made since the last frame.
  void upload() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (fresh_ > 0) {
      texture = Screen::upload(texture, latest_.rgba.data(), static_cast<int>(latest_.width), static_cast<int>(latest_.height));
      rows = std::exchange(fresh_, 0);
      updates++;
    }
    if (over_) {
      over_ = running = false;
      (whole_ ? finished : cancelled)++;
    }
  }

 private:
  void make() {
    fqgan::Sampling sampling;
    sampling.seed = 1;
    bool whole = false;
    try {
      const std::uint32_t width = generator_.info().grid_width;
      const auto progress = [&](std::uint32_t done, std::uint32_t, const fqgan::Codes &codes) {
        if (done % width == 0) {
          Decoded picture = decode(tokenizer_, codes, 0);
          const std::lock_guard<std::mutex> lock(mutex_);
          latest_ = std::move(picture);
          fresh_ = done / width;
        }
        return !stop_;
      };
      whole = generator_.generate({label}, sampling, progress).whole;
    } catch (const std::exception &error) {
      std::cerr << "wall: " << error.what() << '\n';
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    whole_ = whole;
    over_ = true;
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    if (over_) (whole_ ? finished : cancelled)++;
    over_ = running = false;
    fresh_ = 0;
  }

  const fqgan::Generator &generator_;
  const fqgan::Tokenizer &tokenizer_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  Decoded latest_;
  std::uint32_t fresh_ = 0;
  bool over_ = false, whole_ = false;
  std::thread thread_;
};

void press(SDL_Keycode key) {
  SDL_Event event{};
  event.type = SDL_KEYDOWN;
  event.key.keysym.sym = key;
  SDL_PushEvent(&event);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

constexpr int kTile = 64, kColumns = 12, kRows = 8, kLive = 192, kBar = 30;

void draw(const Screen &screen, const Wall &wall, const Live &live, const fqgan_generator_info &info,
          const std::vector<double> &frames) {
  screen.begin();
  for (std::size_t i = 0; i < wall.tiles.size() && i < kColumns * kRows; i++) {
    const int x = static_cast<int>(i % kColumns) * kTile, y = kBar + static_cast<int>(i / kColumns) * kTile;
    if (wall.tiles[i].texture != 0) {
      Screen::picture(wall.tiles[i].texture, x, y, kTile, kTile);
    } else {
      Screen::box(x + 2, y + 2, kTile - 4, kTile - 4, wall.tiles[i].failed ? 0.5f : 0.15f, 0.15f, 0.18f);
    }
  }
  const int x = kColumns * kTile + 16, height = kLive * static_cast<int>(info.grid_height) / static_cast<int>(info.grid_width);
  Screen::box(x, kBar, kLive, height, 0.15f, 0.15f, 0.18f);
  const float part = static_cast<float>(live.rows) / static_cast<float>(info.grid_height);
  if (live.rows > 0) Screen::picture(live.texture, x, kBar, kLive, height, part);
  Screen::text(x, kBar + height + 12, "class " + std::to_string(live.label));
  Screen::text(x, kBar + height + 32, "row " + std::to_string(live.rows) + " of " + std::to_string(info.grid_height));
  Screen::text(x, kBar + height + 62, "[space] new");
  Screen::text(x, kBar + height + 82, "[c] cancel");
  // The last frames, as bars: ten pixels are ten milliseconds.
  const std::size_t shown = std::min<std::size_t>(frames.size(), kLive / 2);
  for (std::size_t i = 0; i < shown; i++) {
    const int h = std::clamp(static_cast<int>(frames[frames.size() - shown + i]), 1, 100);
    Screen::box(x + 2 * static_cast<int>(i), screen.height - 8 - h, 2, h, 0.3f, 0.7f, 0.4f);
  }
  const double last = frames.empty() ? 0 : frames.back();
  const double worst = frames.empty() ? 0 : *std::max_element(frames.end() - static_cast<std::ptrdiff_t>(shown), frames.end());
  Screen::text(8, 8, "frame " + number(last) + " ms  worst " + number(worst) + " ms  tiles " + std::to_string(wall.ready) +
                         "/" + std::to_string(wall.tiles.size()));
}

}  // namespace

int main(int argc, char **argv) try {
  const bool demo = argc == 6 && std::string(argv[4]) == "--demo";
  if (argc != 4 && !demo) throw std::runtime_error("usage: wall MODEL GENERATOR FOLDER [--demo SHOT.ppm]");
  Screen screen(kColumns * kTile + kLive + 32, kBar + kRows * kTile);

  // Later ones end first: the picture in the making, then the jobs, then what their tasks use.
  const unsigned threads = std::max(2u, std::thread::hardware_concurrency());
  std::unique_ptr<Wall> wall;
  std::unique_ptr<fqgan::Tokenizer> tokenizer;
  std::unique_ptr<fqgan::Generator> generator;
  Jobs jobs(threads);
  std::unique_ptr<Live> live;
  fqgan::RuntimeOptions options;
  options.threads = threads;
  options.parallel = Jobs::parallel;
  options.parallel_user = &jobs;
  {
    const fqgan::Runtime runtime(options);
    tokenizer = std::make_unique<fqgan::Tokenizer>(runtime, argv[1]);
    generator = std::make_unique<fqgan::Generator>(runtime, argv[2]);
  }
  wall = std::make_unique<Wall>(jobs, *tokenizer, argv[3]);
  live = std::make_unique<Live>(*generator, *tokenizer);

  std::vector<double> frames;
  std::size_t loading = 0, step = 0;
  std::uint32_t label = 0;
  for (bool go = true; go;) {
    const Clock::time_point began = Clock::now();
    for (SDL_Event event; SDL_PollEvent(&event) != 0;) {
      if (event.type == SDL_QUIT) go = false;
      if (event.type != SDL_KEYDOWN) continue;
      switch (event.key.keysym.sym) {
        case SDLK_SPACE: live->start(label++ % generator->info().classes); break;
        case SDLK_c: live->cancel(); break;
        case SDLK_ESCAPE: go = false; break;
        default: break;
      }
    }
    wall->upload();
    live->upload();
    draw(screen, *wall, *live, generator->info(), frames);
    if (wall->ready < wall->tiles.size()) loading++;
    const bool last = demo && step == 4 && wall->ready == wall->tiles.size() && frames.size() >= 100;
    if (last) screen.save(argv[5]);
    screen.end();
    frames.push_back(milliseconds(Clock::now() - began));
    if (demo && !last) {
      // A picture that is cancelled at once, then one that is made to its end.
      if (step == 0) press(SDLK_SPACE), press(SDLK_c), step = 1;
      if (step == 1 && live->cancelled == 1) press(SDLK_SPACE), step = 2;
      if (step == 2 && live->finished == 1) step = 4;
      if (frames.size() > 20000) throw std::runtime_error("the demonstration does not come to its end");
    }
    go = go && !last;
  }
  std::sort(frames.begin(), frames.end());
  std::cout << "frames " << frames.size() << ", while loading " << loading << ", median ms " << number(frames[frames.size() / 2])
            << ", worst ms " << number(frames.back()) << "\ntiles " << wall->ready << "\npictures finished "
            << live->finished << ", cancelled " << live->cancelled << ", updates " << live->updates << '\n';
  return 0;
} catch (const std::exception &error) {
  std::cerr << "wall: " << error.what() << '\n';
  return 1;
}
