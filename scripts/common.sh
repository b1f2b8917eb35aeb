# SPDX-License-Identifier: MIT
#
# What the front-door scripts share. Sourced, from the top of the clone.

# build DIR [MESON-OPTION...]: configures once and builds everything, or what
# $targets names; quiet unless it fails.
build()
{
	local dir=$1 log
	shift
	mkdir -p "$dir"
	log=$dir/build.log
	local how=setup

	# A folder from before may have been made with other options.
	[ ! -f "$dir/build.ninja" ] || how=configure
	# shellcheck disable=SC2086
	if ! { { [ $how = configure ] && [ $# -eq 0 ] || meson $how "$dir" "$@"; } &&
			ninja -C "$dir" ${targets:-}; } >"$log" 2>&1; then
		tail -n 60 "$log" >&2
		return 1
	fi
}

# Debian's Python, whose packages bootstrap installed; another one may come
# first in PATH.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
export PYTHONPATH=scripts${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE=1
