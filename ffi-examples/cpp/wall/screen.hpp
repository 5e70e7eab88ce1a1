// A window with OpenGL: rectangles of textures, and text of five by seven dots.
#ifndef WALL_SCREEN_HPP
#define WALL_SCREEN_HPP

#include <SDL.h>
#include <SDL_opengl.h>

#include <cctype>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

class Screen {
 public:
  const int width, height;

  Screen(int width, int height) : width(width), height(height) {
    if (SDL_Init(SDL_INIT_VIDEO) != 0) fail("SDL_Init");
    SDL_GL_SetAttribute(SDL_GL_DOUBLEBUFFER, 1);
    window_ = SDL_CreateWindow("libfqgan", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED, width, height, SDL_WINDOW_OPENGL);
    if (window_ == nullptr) fail("SDL_CreateWindow");
    context_ = SDL_GL_CreateContext(window_);
    if (context_ == nullptr) fail("SDL_GL_CreateContext");
    SDL_GL_SetSwapInterval(0);
    glViewport(0, 0, width, height);
    glMatrixMode(GL_PROJECTION);
    glOrtho(0, width, height, 0, -1, 1);
    glMatrixMode(GL_MODELVIEW);
    glPixelStorei(GL_UNPACK_ALIGNMENT, 1);
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
  }
  ~Screen() {
    SDL_GL_DeleteContext(context_);
    SDL_DestroyWindow(window_);
    SDL_Quit();
  }
  Screen(const Screen &) = delete;
  Screen &operator=(const Screen &) = delete;

  void begin() const {
    glClearColor(0.07f, 0.08f, 0.10f, 1);
    glClear(GL_COLOR_BUFFER_BIT);
  }
  void end() const { SDL_GL_SwapWindow(window_); }

  // Uploads packed RGBA rows; 0 makes a new texture.
  static GLuint upload(GLuint texture, const unsigned char *rgba, int width, int height) {
    if (texture == 0) glGenTextures(1, &texture);
    glBindTexture(GL_TEXTURE_2D, texture);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_NEAREST);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, width, height, 0, GL_RGBA, GL_UNSIGNED_BYTE, rgba);
    return texture;
  }

  // The upper part of a texture.
  static void picture(GLuint texture, int x, int y, int w, int h, float part = 1) {
    glEnable(GL_TEXTURE_2D);
    glBindTexture(GL_TEXTURE_2D, texture);
    glColor3f(1, 1, 1);
    const float bottom = static_cast<float>(y) + static_cast<float>(h) * part;
    glBegin(GL_QUADS);
    glTexCoord2f(0, 0), glVertex2i(x, y);
    glTexCoord2f(1, 0), glVertex2i(x + w, y);
    glTexCoord2f(1, part), glVertex2f(static_cast<float>(x + w), bottom);
    glTexCoord2f(0, part), glVertex2f(static_cast<float>(x), bottom);
    glEnd();
  }

  static void box(int x, int y, int w, int h, float r, float g, float b) {
    glDisable(GL_TEXTURE_2D);
    glColor3f(r, g, b);
    glRecti(x, y, x + w, y + h);
  }

  // Text in dots of two pixels; letters are capitals.
  static void text(int x, int y, const std::string &line) {
    glDisable(GL_TEXTURE_2D);
    glColor3f(0.85f, 0.9f, 0.95f);
    for (const char c : line) {
      const char *rows = glyph(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
      for (int row = 0; rows != nullptr && row < 7; row++) {
        const int bits = rows[row] - '@';
        for (int column = 0; column < 5; column++) {
          if (bits >> (4 - column) & 1) glRecti(x + 2 * column, y + 2 * row, x + 2 * column + 2, y + 2 * row + 2);
        }
      }
      x += 12;
    }
  }

  // What was drawn, as a PPM.
  void save(const std::string &path) const {
    std::vector<char> pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    glReadPixels(0, 0, width, height, GL_RGB, GL_UNSIGNED_BYTE, pixels.data());
    std::ofstream out(path, std::ios::binary);
    out << "P6\n" << width << ' ' << height << "\n255\n";
    for (int y = height; y-- > 0;) out.write(pixels.data() + static_cast<std::ptrdiff_t>(y) * width * 3, width * 3);
    if (!out.flush()) throw std::runtime_error("cannot write " + path);
  }

 private:
  [[noreturn]] static void fail(const char *what) { throw std::runtime_error(std::string(what) + ": " + SDL_GetError()); }

  // Seven rows of five dots: '@' is none, the bits of the letter above it are the dots.
  static const char *glyph(char c) {
    static const struct {
      char letter;
      const char *rows;
    } glyphs[] = {
        {'0', "NQSUYQN"}, {'1', "DLDDDDN"}, {'2', "NQABDH_"}, {'3', "_BDBAQN"}, {'4', "BFJR_BB"}, {'5', "_P^AAQN"},
        {'6', "FHP^QQN"}, {'7', "_ABDHHH"}, {'8', "NQQNQQN"}, {'9', "NQQOABL"}, {'A', "NQQ_QQQ"}, {'B', "^QQ^QQ^"},
        {'C', "NQPPPQN"}, {'D', "\\RQQQR\\"}, {'E', "_PP^PP_"}, {'F', "_PP^PPP"}, {'G', "NQPWQQO"}, {'H', "QQQ_QQQ"},
        {'I', "NDDDDDN"}, {'J', "GBBBBRL"}, {'K', "QRTXTRQ"}, {'L', "PPPPPP_"}, {'M', "Q[UUQQQ"}, {'N', "QQYUSQQ"},
        {'O', "NQQQQQN"}, {'P', "^QQ^PPP"}, {'Q', "NQQQURM"}, {'R', "^QQ^TRQ"}, {'S', "OPPNAA^"}, {'T', "_DDDDDD"},
        {'U', "QQQQQQN"}, {'V', "QQQQQJD"}, {'W', "QQQUUUJ"}, {'X', "QQJDJQQ"}, {'Y', "QQQJDDD"}, {'Z', "_ABDHP_"},
        {'.', "@@@@@LL"}, {'/', "@ABDHP@"}, {':', "@LL@LL@"}, {'-', "@@@_@@@"}, {'[', "NHHHHHN"}, {']', "NBBBBBN"},
    };
    for (const auto &g : glyphs) {
      if (g.letter == c) return g.rows;
    }
    return nullptr;
  }

  SDL_Window *window_ = nullptr;
  SDL_GLContext context_ = nullptr;
};

#endif
