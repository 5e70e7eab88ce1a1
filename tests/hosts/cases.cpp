// tests/hosts/cases.txt through fqgan.hpp: cases CASES TOKENIZER GENERATOR EXPECTED THREADS
#include "fqgan.hpp"
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace {

constexpr std::uint32_t kCodes = 64;

class Stream {
 public:
  explicit Stream(std::uint64_t seed) : state_(static_cast<std::uint32_t>(seed) * 2654435761u + 1) {
    if (state_ == 0) state_ = 1;
  }
  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  std::vector<std::uint32_t> codes(std::size_t count) {
    std::vector<std::uint32_t> codes(count);
    for (std::uint32_t &code : codes) code = next() % kCodes;
    return codes;
  }

 private:
  std::uint32_t state_;
};

// Images of one size in one piece of memory.
struct Images {
  std::vector<unsigned char> memory;
  std::vector<fqgan_image> views;

  Images(std::int32_t format, std::uint32_t width, std::uint32_t height, std::size_t count, std::size_t pad,
         Stream *stream) {
    const std::size_t pixel[] = {3, 4, 4, 12, 4};
    const std::size_t stride = width * pixel[format] + pad, bytes = stride * height * (format == 4 ? 3 : 1);
    memory.assign(bytes * count, 0xA5);
    if (stream != nullptr && format >= FQGAN_PIXEL_RGB_F32) {
      for (std::size_t i = 0; i < memory.size(); i += 4) {
        const float value = (static_cast<float>(stream->next() >> 24) - 128.0f) / 128.0f;
        std::memcpy(&memory[i], &value, sizeof value);
      }
    } else if (stream != nullptr) {
      for (unsigned char &byte : memory) byte = static_cast<unsigned char>(stream->next() >> 24);
    }
    for (std::size_t i = 0; i < count; i++) {
      views.push_back(fqgan::image(memory.data() + i * bytes, width, height, format, stride));
    }
  }
};

template <class T>
std::string hex(const std::vector<T> &values) {
  const char *digits = "0123456789abcdef";
  std::string text;
  const auto *bytes = reinterpret_cast<const unsigned char *>(values.data());
  for (std::size_t i = 0; i < values.size() * sizeof(T); i++) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

struct Models {
  fqgan::Tokenizer tokenizer;
  fqgan::Generator generator;

  std::string run(const std::string &line) const {
    std::istringstream in(line);
    std::string verb, word;
    in >> verb;
    std::vector<std::string> words;
    while (in >> word) words.push_back(word);
    const auto number = [&](std::size_t i) { return std::stoull(words.at(i)); };
    const auto small = [&](std::size_t i) { return static_cast<std::uint32_t>(number(i)); };
    const auto real = [&](std::size_t i) { return std::stof(words.at(i)); };
    const auto classes = [&](std::size_t from) {
      std::vector<std::uint32_t> classes;
      for (std::size_t i = from; i < words.size(); i++) classes.push_back(small(i));
      return classes;
    };
    if (verb == "encode" || verb == "latents") {
      Stream stream(number(5));
      const Images images(static_cast<std::int32_t>(number(0)), small(1), small(2), small(3), small(4), &stream);
      if (verb == "encode") return ": 0 " + hex(tokenizer.encode(images.views).data);
      return ": 0 " + hex(tokenizer.latents(images.views));
    }
    if (verb == "decode") {
      const std::uint32_t columns = small(1), rows = small(2), count = small(3);
      const fqgan::Codes codes{Stream(number(6)).codes(std::size_t{count} * 2 * columns * rows), count, 2, kCodes,
                               columns, rows};
      const Images images(static_cast<std::int32_t>(number(0)), 4 * columns, 4 * rows, count, small(4), nullptr);
      tokenizer.decode(codes, images.views, small(5));
      return ": 0 " + hex(images.memory);
    }
    fqgan::Sampling sampling;
    if (verb == "generate") {
      sampling.seed = number(0);
      sampling.top_k = small(1);
      sampling.top_p = real(2);
      sampling.temperature = real(3);
      sampling.guidance = real(4);
      sampling.steps = small(5);
      return ": 0 " + hex(generator.generate(classes(6), sampling).data);
    }
    if (verb == "cancel") {
      sampling.seed = number(1);
      const auto go_on = [&](std::uint32_t done, std::uint32_t) { return done < small(0); };
      const auto part = generator.generate(classes(2), sampling, go_on);
      return (part.whole ? ": 0 " : ": 7 ") + hex(part.codes.data);
    }
    if (verb == "logits") {
      const auto of = classes(1);
      fqgan::Codes codes{Stream(number(0)).codes(of.size() * 24), static_cast<std::uint32_t>(of.size()), 2, kCodes, 4, 3};
      return ": 0 " + hex(generator.logits(of, codes));
    }
    if (verb != "pack") throw std::runtime_error("unknown: " + line);
    const fqgan::Codes codes{Stream(number(4)).codes(std::size_t{small(0)} * small(1) * small(2) * small(3)), small(3),
                             small(0), kCodes, small(1), small(2)};
    const auto bytes = codes.pack();
    if (fqgan::Codes::unpack(bytes).data != codes.data) throw std::runtime_error("unpacked codes differ");
    return ": 0 " + hex(bytes);
  }
};

}  // namespace

int main(int argc, char **argv) try {
  if (argc != 6) throw std::runtime_error("cases CASES TOKENIZER GENERATOR EXPECTED THREADS");
  fqgan::RuntimeOptions how;
  how.threads = static_cast<std::uint32_t>(std::stoul(argv[5]));
  const fqgan::Runtime runtime(how);
  const Models models{fqgan::Tokenizer(runtime, argv[2]), fqgan::Generator(runtime, argv[3])};
  std::ifstream cases(argv[1]), expected(argv[4]);
  std::string line, want;
  unsigned lines = 0;
  while (std::getline(cases, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::string got;
    try {
      got = line + models.run(line);
    } catch (const fqgan::Error &error) {
      got = line + ": " + std::to_string(error.status());
    }
    if (!std::getline(expected, want) || got != want) {
      throw std::runtime_error("not what Rust gives:\n" + got + "\nexpected\n" + want);
    }
    lines++;
  }
  if (std::getline(expected, want) || lines <= 45) throw std::runtime_error("too few cases");
  std::cout << "ok\n";
  return 0;
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
