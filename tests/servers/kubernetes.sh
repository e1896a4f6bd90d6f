#!/usr/bin/env bash
# Builds the Kubernetes control plane that the tests start, into a cache outside the tree: kube-apiserver and
# kube-controller-manager 1.20.2 out of Debian 12's source package, which vendors its dependencies, with Debian's own
# etcd, kubectl and Go. All of it comes from Debian's archive, checked by its signatures; apt's state is a private one,
# so that any machine with apt will do. Only the tools of the build are installed (as root, or by sudo). Takes 4 to 10
# minutes on two cores and 2.5 GB while it builds, 350 MB after it; nothing when it is there. Prints where.
set -euo pipefail

version=1.20.2
home=${XDG_CACHE_HOME:-$HOME/.cache}/pedwatch/kubernetes-$version
mkdir -p "$home"
# One builds, the others wait for it.
exec 9>"$home/.lock"
flock 9
[ -f "$home/.complete" ] && echo "$home" && exit 0

exec 3>&1 4>&2 >"$home/build.log" 2>&1
failed() {
  echo "the Kubernetes API server of the tests cannot be built; the end of $home/build.log:" >&4
  tail -n 40 "$home/build.log" >&4
}
trap failed ERR

if ! command -v apt-get >/dev/null; then
  echo "it is built from Debian's packages: apt is needed"
  false
fi
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
  debian-archive-keyring dpkg-dev jq make openssl rsync >/dev/null

# An apt of its own: Debian 12, from the mirror that this machine uses if it is one.
work=$home/build
rm -rf "$work" "$home/bin"
mkdir -p "$work"/{lists/partial,cache/archives/partial,home} "$home/bin"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Origin: Debian' | sed -n 1p)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
printf "%s [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} bookworm main\n" deb deb-src >"$work/sources.list"
touch "$work/status"
cat >"$work/apt.conf" <<APT
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
Acquire::Retries "3";
APT
export APT_CONFIG=$work/apt.conf
cd "$work"
apt-get update -qq
apt-get download -qq golang-1.19-go golang-1.19-src etcd-server kubernetes-client
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done
cp "$work/root/usr/bin/"{etcd,kubectl} "$home/bin/"

apt-get source -qq kubernetes
cd "$work"/kubernetes-*"$version"
export GOROOT=$work/root/usr/lib/go-1.19 PATH=$work/root/usr/lib/go-1.19/bin:$PATH
export CGO_ENABLED=0 GOPATH=$PWD/.go HOME=$work/home GOFLAGS= GOPROXY=off
mkdir -p .go/src/k8s.io
ln -s ../../.. .go/src/k8s.io/kubernetes
# The vendored reflect2 1.0.1 crashes under Go 1.18 and newer when it walks a map, which the API server does as soon as a
# webhook mutates: https://github.com/modern-go/reflect2/pull/24 (1.0.2) gives the runtime an iterator of its size.
python3 - vendor/github.com/modern-go/reflect2 <<'PATCH'
import pathlib, sys

def replace(file, old, new):
    path = pathlib.Path(sys.argv[1], file)
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new))

replace("unsafe_link.go", "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) *hiter",
        "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)")
replace("unsafe_link.go", "\t// rest fields are ignored\n", "\trest [12]unsafe.Pointer // at least as large as the runtime's\n")
replace("unsafe_map.go", "\treturn &UnsafeMapIterator{\n\t\thiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),",
        "\tit := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n\treturn &UnsafeMapIterator{\n\t\thiter:      it,")
PATCH
# Cargo tells its tests of an OUT_DIR, which make would take for its own.
nice -n 15 env -u OUT_DIR make WHAT="cmd/kube-apiserver cmd/kube-controller-manager"
cp _output/local/bin/linux/*/kube-{apiserver,controller-manager} "$home/bin/"
cd "$home"
chmod -R u+w "$work"
rm -rf "$work"
touch "$home/.complete"
echo "$home" >&3
