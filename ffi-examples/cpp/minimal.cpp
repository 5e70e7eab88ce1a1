// The same photograph through the C++ wrapper: errors are exceptions, handles free themselves.
//   minimal MODEL.safetensors IN.ppm OUT.ppm        (a PPM without comments)
#include <fqgan.hpp>

#include <fstream>
#include <iostream>

int main(int argc, char **argv) try {
  if (argc != 4) throw std::runtime_error("usage: minimal MODEL.safetensors IN.ppm OUT.ppm");
  const fqgan::Tokenizer tokenizer(fqgan::Runtime(), argv[1]);

  std::ifstream in(argv[2], std::ios::binary);
  std::string magic;
  std::uint32_t width = 0, height = 0, most = 0;
  if (!(in >> magic >> width >> height >> most) || magic != "P6" || most != 255 || width > 65536 || height > 65536) {
    throw std::runtime_error("the picture is no binary PPM of 8 bits a channel");
  }
  std::vector<char> pixels(std::size_t{width} * height * 3);
  in.get();
  if (!in.read(pixels.data(), static_cast<std::streamsize>(pixels.size()))) {
    throw std::runtime_error("the picture is cut short");
  }

  const fqgan::Codes codes = tokenizer.encode(fqgan::image(pixels.data(), width, height));
  tokenizer.decode(codes, fqgan::image(pixels.data(), width, height));
  std::cout << codes.data.size() << " codes, " << codes.pack().size() << " bytes\n";

  std::ofstream out(argv[3], std::ios::binary);
  out << "P6\n" << width << ' ' << height << "\n255\n";
  out.write(pixels.data(), static_cast<std::streamsize>(pixels.size()));
  return out.flush() ? 0 : 1;
} catch (const std::exception &error) {
  std::cerr << "minimal: " << error.what() << '\n';
  return 1;
}
