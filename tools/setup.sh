#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Set up what a fresh machine lacks; `make` calls this. Whatever only the administrator can add is named in one line.
#
#   setup.sh compiler          is there a C compiler that can build a program?
#   setup.sh venv DIR EXTRA    virtual environment with what folio_perf and its extra EXTRA need (test, lint ...)
#   setup.sh inplace DIR       compile folio_perf in place and let that environment import it
#   setup.sh user DIR          virtual environment with folio_perf itself, installed as a user would
#
# Each does nothing, quickly, if it has been done before for the same inputs. CC and PYTHON choose the programs.
set -eu
cd "$(dirname "$0")/.."

die()
{
	echo "folio_perf: $*" >&2
	exit 1
}

need_compiler()
{
	probe=$(mktemp -d)
	trap 'rm -rf "$probe"' EXIT
	echo '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }' >"$probe/probe.c"
	# Unquoted on purpose: CC may hold options.
	${CC:-cc} -o "$probe/probe" "$probe/probe.c" 2>"$probe/errors" && return
	command -v ${CC:-cc} >/dev/null 2>&1 || die "no C compiler (${CC:-cc}); on Debian: apt install build-essential"
	die "${CC:-cc} cannot build a C program; on Debian: apt install build-essential"
}

# Sets $python to the first that is new enough.
need_python()
{
	found=
	for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
		version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
		if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
			"$python" -c 'import ensurepip, venv' 2>/dev/null ||
				die "Python $version has no venv module; on Debian: apt install python3-venv"
			"$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
				die "Python $version has no headers; on Debian: apt install python3-dev"
			return
		fi
		found="$found $version"
	done
	die "Python 3.11 or newer is needed${found:+, found only$found}; on Debian 12 or newer: apt install python3"
}

new_venv()
{
	"$dir/bin/python" -m pip --version >/dev/null 2>&1 && return
	echo "folio_perf: creating $dir with Python $version"
	"$python" -m venv --clear "$dir" || die "cannot create $dir; on Debian: apt install python3-venv"
}


pip_install()
{
	# Compiling all of pandas and matplotlib to bytecode takes longer than all the rest; what is used gets compiled.
	"$dir/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-compile "$@"
}

# pip keeps its cache under HOME; without one that can be written, under build.
if [ -z "${PIP_CACHE_DIR:-}" ] && ! { [ -n "${HOME:-}" ] && [ -d "$HOME" ] && [ -w "$HOME" ]; }; then
	PIP_CACHE_DIR=$PWD/build/pip-cache
	export PIP_CACHE_DIR
fi

case "${1:-}" in
compiler)
	need_compiler
	;;
venv)
	need_python
	dir=$2 extra=$3
	# First line: what decides whether the environment is up to date; the others: requirements.
	wanted=$("$python" - "$extra" <<-'EOF'
		import hashlib, sys, tomllib
		text = open("pyproject.toml", "rb").read()
		project = tomllib.loads(text.decode())
		print(hashlib.sha256(text + sys.version.encode()).hexdigest())
		print(*project["build-system"]["requires"], *project["project"]["dependencies"],
		      *project["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
	EOF
	)
	key=${wanted%%"
"*}
	stamp=$dir/folio_perf-$extra.stamp
	[ -x "$dir/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && exit
	need_compiler
	new_venv
	echo "folio_perf: installing what folio_perf[$extra] needs into $dir"
	printf '%s\n' "$wanted" | tail -n +2 >"$dir/requirements-$extra.txt"
	pip_install -r "$dir/requirements-$extra.txt"
	echo "$key" >"$stamp"
	;;
inplace)
	dir=$2
	if cmp -s pyproject.toml "$dir/folio_perf-inplace.stamp"; then
		"$dir/bin/python" setup.py --quiet build_ext --inplace
	else
		pip_install --no-build-isolation --no-deps --editable .
		cp pyproject.toml "$dir/folio_perf-inplace.stamp"
	fi
	;;
user)
	need_python
	dir=$2
	key=$("$python" - <<-'EOF'
		import hashlib, pathlib, sys
		digest = hashlib.sha256(sys.version.encode())
		tops = ["csrc", "folio_perf", "pyproject.toml", "setup.py", "MANIFEST.in"]
		files = [f for top in map(pathlib.Path, tops) for f in ([top] if top.is_file() else top.rglob("*"))]
		for file in sorted(files):
		    if file.is_file() and file.suffix not in (".pyc", ".so"):
		        digest.update(f"{file} {file.stat().st_size}\n".encode() + file.read_bytes())
		print(digest.hexdigest())
	EOF
	)
	stamp=$dir/folio_perf.stamp
	[ -x "$dir/bin/folio-perf" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && exit
	need_compiler
	new_venv
	echo "folio_perf: installing folio_perf into $dir"
	rm -rf build/lib.* build/bdist.* # setuptools would pack modules that are no more
	pip_install .
	echo "$key" >"$stamp"
	;;
*)
	die "setup.sh: compiler, venv DIR EXTRA or user DIR"
	;;
esac
