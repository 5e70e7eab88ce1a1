# For other scripts: installs what is missing, and only that.
#   need COMMAND:PACKAGE ...
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  if ! command -v apt-get >/dev/null 2>&1 || { [ ${#root[@]} -gt 0 ] && ! command -v sudo >/dev/null 2>&1; }; then
    echo "please install what gives: ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local install=("${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}") log
  log=$(mktemp)
  # A list of packages that is missing or old is renewed.
  if ! "${install[@]}" >"$log" 2>&1; then
    "${root[@]}" apt-get update -qq >>"$log" 2>&1
    "${install[@]}" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; rm -f "$log"; return 1; }
  fi
  rm -f "$log"
}

# The same for packages that bring no command.
need_packages() {
  local package
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || need "no-command-$package:$package"
  done
}

# Rust's own installer puts cargo where a fresh shell may not look.
need_cargo() {
  command -v cargo >/dev/null 2>&1 || PATH=$HOME/.cargo/bin:$PATH
  command -v cargo >/dev/null 2>&1 || { echo "please install Rust: https://rustup.rs" >&2; return 1; }
  need cc:gcc
}
