#!/usr/bin/env bash
# Builds the static V8 archive that the `v8` crate links, out of package registries alone.
#
# Owns: one work folder, one finished archive. Called by: `cargo xtask v8 build`, or by hand.
# Always true: a step that finished leaves a mark in WORK/done and is not run again, so a build that was
# stopped goes on where it was; the archive appears under its name only when it is complete.
#
# Where things come from:
#   sources   the `v8` crate of the version in Cargo.lock; the ICU data it leaves out: `deno_core_icudata`
#   compiler  Debian sid, in a chroot: V8 wants the very clang it is written against, older ones stop at unknown options
#   glibc     Debian 12, as the sysroot: linked against sid's glibc, the archive would not link on Debian 12
# Left out: Temporal, which would need Chromium's own Rust toolchain.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: build-v8.sh [--work DIR] [--out FILE] [--mirror URL] [--until STEP] [--dry-run]

  --work DIR     where to work; about 12 GB            (default: /var/tmp/facetd-v8)
  --out FILE     the archive                           (default: .v8/librusty_v8_simdutf_release_<target>-<version>.a.gz)
  --mirror URL   Debian mirror for the chroot          (default: the one this machine's apt uses, else debootstrap's own)
  --until STEP   stop after this step
  --dry-run      check what is needed, say what would be done, change nothing

Steps: check, sources, chroot, sysroot, configure, compile, pack. What is done is not done again;
delete the work folder to begin afresh. Needs root, x86-64, debootstrap and cargo; two to three hours on two cores.
USAGE
}

STEPS=(check sources chroot sysroot configure compile pack)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT=$(cd "$HERE/../.." && pwd)
WORK=/var/tmp/facetd-v8
OUT=
MIRROR=
UNTIL=pack
DRY=no

say() { printf 'build-v8: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --work | --out | --mirror | --until)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      case $1 in
        --work) WORK=$2 ;;
        --out) OUT=$2 ;;
        --mirror) MIRROR=$2 ;;
        --until) UNTIL=$2 ;;
      esac
      shift 2 ;;
    --dry-run) DRY=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown option $1"; usage >&2; exit 2 ;;
  esac
done
case " ${STEPS[*]} " in *" $UNTIL "*) ;; *) say "no step $UNTIL"; usage >&2; exit 2 ;; esac

TARGET=x86_64-unknown-linux-gnu
MULTIARCH=x86_64-linux-gnu
# The block of the package named v8 in Cargo.lock: the name's line is followed by the version's.
V8_VERSION=$(awk '/^name = "v8"$/ { hit = 1; next } hit && /^version = / { gsub(/"/, "", $3); print $3; exit }' "$CHECKOUT/Cargo.lock")
[ -n "$V8_VERSION" ] || die "Cargo.lock names no version of the v8 crate"
WORK=$(realpath -m "$WORK")
OUT=$(realpath -m "${OUT:-$CHECKOUT/.v8/librusty_v8_simdutf_release_$TARGET-$V8_VERSION.a.gz}")
VENDOR=$WORK/vendor
ROOT=$WORK/root            # the chroot
SRC=$ROOT/build/v8         # V8's sources, as the chroot's /build/v8
SYSROOT=$ROOT/sysroot      # Debian 12's headers and libraries, as the chroot's /sysroot

# ---- helpers ------------------------------------------------------------------------------------

# The mirror that this machine's apt reads Debian itself from (not its security archive); empty if there is none.
apt_mirror() {
  command -v apt-get > /dev/null || return 0
  # shellcheck disable=SC2016 # apt-get expands these
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2> /dev/null |
    awk '$1 == "Debian" && !seen++ { print $2 }'
}

# Everything inside the chroot runs without our environment and sees /proc, which some tools ask.
in_root() {
  mountpoint -q "$ROOT/proc" || mount -t proc proc "$ROOT/proc"
  mountpoint -q "$ROOT/dev" || mount --bind /dev "$ROOT/dev"
  env -i HOME=/ LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    PATH="/usr/lib/llvm-$(clang_major)/bin:/usr/sbin:/usr/bin:/sbin:/bin" chroot "$ROOT" "$@"
}

leave_root() {
  for d in dev proc; do
    if mountpoint -q "$ROOT/$d"; then umount "$ROOT/$d" || say "could not unmount $ROOT/$d"; fi
  done
}

# The clang that these sources were written against, from their own update script ("llvmorg-23-init-...").
clang_major() {
  sed -n "s/^CLANG_REVISION = 'llvmorg-\([0-9]*\)-.*/\1/p" "$VENDOR/v8/tools/clang/scripts/update.py"
}

# ---- steps --------------------------------------------------------------------------------------

# Runs every time: a machine can change under a half-finished build.
step_check() {
  local missing=0 free dir=$WORK
  complain() { say "$*"; missing=1; }
  [ "$(uname -sm)" = "Linux x86_64" ] || complain "this script knows x86-64 Linux only"
  [ "$(id -u)" = 0 ] || complain "needs root (chroot, debootstrap, mount)"
  for tool in cargo debootstrap chroot mount mountpoint gzip awk sed; do
    command -v "$tool" > /dev/null || complain "needs $tool"
  done
  while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
  free=$(df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge 12 ] || complain "needs about 12 GB in $WORK, there are $free"
  [ -n "$MIRROR" ] || MIRROR=$(apt_mirror)
  say "V8 $V8_VERSION for $TARGET"
  say "work folder: $WORK ($free GB free)"
  say "archive:     $OUT"
  say "mirror:      $([ -n "$MIRROR" ] && echo "the one given or set up for apt" || echo "debootstrap's own")"
  if [ "$missing" != 0 ]; then
    [ "$DRY" = yes ] || die "not everything that is needed is here; nothing was done"
    say "not everything that is needed is here: a real run would stop now"
    DRY_RESULT=1
  fi
}

# The crate's sources, unpacked by cargo. A project of its own, with an empty [workspace], so that the checkout's
# manifest does not claim it if the work folder lies inside.
step_sources() {
  local icu
  rm -rf "$VENDOR" "$WORK/probe"
  mkdir -p "$WORK/probe/src"
  : > "$WORK/probe/src/lib.rs"
  probe() {
    printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n%s\n' "$1" \
      > "$WORK/probe/Cargo.toml"
    (cd "$WORK/probe" && rm -f Cargo.lock && cargo vendor --quiet "$VENDOR" > /dev/null)
  }
  probe "v8 = \"=$V8_VERSION\""
  # The data file's crate is numbered after the ICU it belongs to: 0.77.x carries ICU 77.
  icu=$(awk '$2 == "U_ICU_VERSION_MAJOR_NUM" { print $3; exit }' "$VENDOR/v8/third_party/icu/source/common/unicode/uvernum.h")
  [ -n "$icu" ] || die "cannot tell which ICU these sources want"
  probe "v8 = \"=$V8_VERSION\"
deno_core_icudata = \"0.$icu\""
  [ -f "$VENDOR/deno_core_icudata/src/icudtl.dat" ] || die "deno_core_icudata holds no src/icudtl.dat"
  [ -n "$(clang_major)" ] || die "cannot tell which clang these sources want"
  say "sources want clang $(clang_major) and ICU $icu"
}

step_chroot() {
  local clang suite
  clang=$(clang_major)
  # A half-made base cannot be continued; a whole one can take packages at any time.
  if [ ! -e "$WORK/done/base" ]; then
    leave_root
    rm -rf "$ROOT"
    debootstrap --variant=minbase sid "$ROOT" ${MIRROR:+"$MIRROR"} > "$WORK/debootstrap.log" ||
      die "debootstrap failed: $WORK/debootstrap.log"
    touch "$WORK/done/base"
  fi
  # Debian 12 beside sid, for the sysroot. The mirror is the one that debootstrap wrote down.
  suite=$(awk '$1 == "deb" { print $2; exit }' "$ROOT/etc/apt/sources.list")
  printf 'deb %s sid main\ndeb %s bookworm main\n' "$suite" "$suite" > "$ROOT/etc/apt/sources.list"
  cp /etc/resolv.conf /etc/hosts "$ROOT/etc/"
  apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-)' > "$ROOT/etc/apt/apt.conf.d/00host" || true
  in_root apt-get update -q
  in_root apt-get install -yq --no-install-recommends -t sid \
    "clang-$clang" "lld-$clang" "llvm-$clang" "libclang-rt-$clang-dev" generate-ninja ninja-build python3 pkg-config
  # V8's build files look for the compiler's run-time library under the target's name, Debian keeps it under lib/linux.
  # shellcheck disable=SC2016 # the inner shell expands these
  in_root sh -euc 'd=$(clang -print-resource-dir)/lib; mkdir -p "$d/$1"
    ln -sfn ../linux/libclang_rt.builtins-x86_64.a "$d/$1/libclang_rt.builtins.a"; test -e "$d/$1/libclang_rt.builtins.a"' sh "$TARGET"
}

# Unpacked, never installed: these packages are read by the linker and the preprocessor only.
step_sysroot() {
  rm -rf "$SYSROOT"
  mkdir -p "$SYSROOT" "$ROOT/build/debs"
  # shellcheck disable=SC2016 # the inner shell expands these
  in_root sh -euc 'cd /build/debs && rm -f ./*.deb
    for p in libc6 libc6-dev linux-libc-dev libgcc-s1 libgcc-12-dev libstdc++6 libstdc++-12-dev \
             libcrypt1 libcrypt-dev zlib1g zlib1g-dev
    do apt-get -q download "$p/bookworm"; done
    for f in ./*.deb; do dpkg -x "$f" /sysroot; done'
  # The package's link is absolute; inside the chroot it would lead to sid's loader.
  ln -sfn "../lib/$MULTIARCH/ld-linux-x86-64.so.2" "$SYSROOT/lib64/ld-linux-x86-64.so.2"
  [ -e "$SYSROOT/usr/include/stdio.h" ] || die "the sysroot holds no C library headers"
}

step_configure() {
  mkdir -p "$SRC" "$ROOT/build/out"
  cp -a "$VENDOR/v8/." "$SRC/"
  mkdir -p "$SRC/third_party/icu/common"
  cp "$VENDOR/deno_core_icudata/src/icudtl.dat" "$SRC/third_party/icu/common/icudtl.dat"
  # What the crate's own build script passes for a release build with `simdutf`, then what is ours.
  cat > "$ROOT/build/out/args.gn" <<ARGS
is_debug = false
use_custom_libcxx = true
rusty_v8_enable_simdutf = true
v8_enable_pointer_compression = false
v8_enable_sandbox = false
v8_enable_v8_checks = false
v8_monolithic_for_shared_library = true

# Debian's clang against Debian 12's glibc
clang_base_path = "/usr/lib/llvm-$(clang_major)"
clang_version = "$(clang_major)"
sysroot = "/sysroot"
use_sysroot = false
treat_warnings_as_errors = false
# or pkg-config is asked for glib inside the sysroot
use_glib = false

# No Chromium Rust toolchain, hence no Temporal
enable_rust = false
enable_rust_cxx = false
v8_enable_temporal_support = false

# Nobody debugs V8 through this archive
symbol_level = 0
line_tables_only = false
ARGS
  in_root gn --root=/build/v8 --script-executable=python3 gen /build/out
}

step_compile() {
  say "compiling: hours; can be stopped and continued"
  in_root ninja -C /build/out rusty_v8
}

step_pack() {
  local part=$OUT.part
  mkdir -p "$(dirname "$OUT")"
  in_root llvm-strip --strip-debug -o /build/librusty_v8.a /build/out/obj/librusty_v8.a
  case $OUT in
    *.gz) gzip -9 -n -c "$ROOT/build/librusty_v8.a" > "$part" ;;
    *) cp "$ROOT/build/librusty_v8.a" "$part" ;;
  esac
  mv "$part" "$OUT"
  sha256sum "$OUT"
}

# ---- the run ------------------------------------------------------------------------------------

DRY_RESULT=0
if [ "$DRY" = yes ]; then
  step_check
  for step in "${STEPS[@]:1}"; do
    [ "$UNTIL" != check ] || break
    if [ -e "$WORK/done/$step" ]; then say "done already:  $step"; else say "would be done: $step"; fi
    [ "$step" != "$UNTIL" ] || break
  done
  exit "$DRY_RESULT"
fi

step_check
mkdir -p "$WORK/done"
trap leave_root EXIT
trap 'exit 130' INT TERM
# Sources of another version in the same work folder: begin again from the sources, keep the chroot's base.
if [ "$(cat "$WORK/done/version" 2> /dev/null)" != "$V8_VERSION" ]; then
  leave_root
  rm -rf "$WORK"/done/{sources,chroot,configure,compile,pack} "$ROOT/build/v8" "$ROOT/build/out"
  echo "$V8_VERSION" > "$WORK/done/version"
fi
# The archive can be asked for under another name, or be gone.
[ -e "$OUT" ] || rm -f "$WORK/done/pack"
for step in "${STEPS[@]:1}"; do
  [ "$UNTIL" != check ] || break
  if [ ! -e "$WORK/done/$step" ]; then
    say "step $step"
    began=$SECONDS
    "step_$step"
    touch "$WORK/done/$step"
    say "step $step took $((SECONDS - began)) s"
  fi
  [ "$step" != "$UNTIL" ] || break
done
[ "$UNTIL" != pack ] || say "archive: $OUT"
