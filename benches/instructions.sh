#!/usr/bin/env bash
# Instructions per operation of every case of every bench, as a table.
#
#   benches/instructions.sh [BENCH]...        by default walk, routing, admission and picker
#   TIMES=5000 benches/instructions.sh walk   another N
#
# For looking around; what is kept from slipping is compared by `cargo bench --bench counts`. Each case runs N and 2 N
# times under valgrind, in a process of its own; the difference, divided by N, is what one operation takes, whatever
# setting up took. Without valgrind it says so and does nothing (with TIDEGATE_REQUIRE_EXTERNAL=1 that is a failure).
set -euo pipefail
cd "$(dirname "$0")/.."

times=${TIMES:-1000}
if (($# == 0)); then set -- walk routing admission picker; fi

if ! command -v valgrind >/dev/null; then
    echo "skipped: instructions are counted by valgrind, which is not installed"
    exit "$([[ ${TIDEGATE_REQUIRE_EXTERNAL:-0} == 1 ]] && echo 1 || echo 0)"
fi

# The program of a bench, built if need be.
program() {
    cargo bench --no-run --bench "$1" 2>&1 | tee /dev/stderr | sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}

# Instructions of one run.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null |
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*$/\1/p'
}

for bench in "$@"; do
    program=$(program "$bench")
    "$program" --cases | while IFS= read -r case; do
        once=$(instructions "$program" --count "$case" "$times" </dev/null)
        twice=$(instructions "$program" --count "$case" $((2 * times)) </dev/null)
        printf '%-10s %-44s %9d instructions\n' "$bench" "$case" $(((twice - once) / times))
    done
done
