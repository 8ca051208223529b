# A clean clone on Debian 12 needs only Go, make and root for any of these.

# No C compiler is needed, and the binary runs on any distribution.
export CGO_ENABLED := 0

# Lets go stamp the revision when root builds in another user's clone.
export GIT_CONFIG_COUNT := 1
export GIT_CONFIG_KEY_0 := safe.directory
export GIT_CONFIG_VALUE_0 := $(CURDIR)

.NOTPARALLEL:
.PHONY: build setup setup-test check check-fuzz test test-lab test-faults demo bench-move bench-hydrate bench-instant bench-idle bench-discover bench-probe bench-inspect bench-repair bench-import test-repair soak clean

# The one binary, bin/droveway.
build:
	go build -trimpath -o bin/droveway ./cmd/droveway

# Missing Debian packages and the guests' kernel. Root.
setup:
	scripts/setup

# The same and what only tests need. Root.
setup-test:
	scripts/setup --test

# Format, vet, staticcheck, repository rules, unit tests.
check:
	scripts/check

# Every fuzz target for a while: FUZZTIME=10s each.
FUZZTIME ?= 10s
check-fuzz:
	scripts/check-fuzz $(FUZZTIME)

# Everything: what a change has to pass. Root.
test: setup-test build check test-lab

# The tests with real guests. Root.
test-lab:
	scripts/test-lab

# Every accident at every step of a move, an instant move and a restart:
# out/faults.json. Root, an hour.
test-faults: setup build
	DROVEWAY_FAULTS=all LIMIT=9000 scripts/test-lab -run 'TestFaults$$' -timeout 2h -v ./internal/migrate

# Repairs a Debian 12 of VMware's in every manner, and one with dracut, and boots it each
# time; imports it as it is, which is refused, and repaired. Root, half an hour.
test-repair: setup build
	DROVEWAY_REPAIR=all LIMIT=4500 scripts/test-lab -tags lab,repair -run 'TestForeign$$|TestForeignDracut$$|TestImportRepairs$$' -timeout 70m -v ./internal/image/appliance ./internal/image/intake

# Random moves, restarts and kills: out/soak.json. SOAK=15m SEED=1. Root.
SOAK ?= 15m
SEED ?= $(shell date +%s)
soak: setup build
	go run ./bench/soak --for $(SOAK) --seed $(SEED) --out out

# Moves a real Debian guest between two hosts and proves that nothing was lost:
# out/demo.json. Root.
demo: setup build
	bin/droveway lab demo --out out

# Moves and restarts beside virsh's and QEMU's own, by disk size:
# out/bench-move.{json,svg}. BENCH_MOVE='--runs 1 --sizes 64'. Root, an hour.
BENCH_MOVE ?=
bench-move: build
	scripts/setup --bench
	go run ./bench/move --out out $(BENCH_MOVE)

# How soon a guest runs elsewhere, by the size of its memory, if that follows and if
# it goes first: out/bench-instant.json. Root.
bench-instant: setup build
	go run ./bench/instant --out out

# What a guest has of its disk while that follows, beside pre-copy:
# out/bench-hydrate.json. Root, five minutes.
bench-hydrate: setup build
	go run ./bench/hydrate --out out

# Memory and latency of the idle roles: out/bench-idle.json. Root.
bench-idle: setup build
	go run ./bench/idle --out out

# Who talks to whom in 20 runs of real networks, in 3 more by patterns alone, and in
# simulated fleets, against the truth and against joining by addresses:
# out/bench-discover.json. Root, ten minutes.
bench-discover: setup
	go run ./bench/discover --out out

# What a probe takes from a machine with 1,000 connections a second:
# out/bench-probe.json. Root.
bench-probe: setup
	go run ./bench/probe --out out

# Time and memory of image inspect, against virt-inspector where setup --bench
# installed it: out/bench-inspect.{json,svg}. Root.
bench-inspect: setup build
	go run ./bench/inspect --out out

# CPU and time of a repair: out/bench-repair.json. BENCH_REPAIR='--full' also with the
# guest's own programs. Root, a minute.
BENCH_REPAIR ?=
bench-repair: setup build
	go run ./bench/repair --out out $(BENCH_REPAIR)

# A disk of VMware imported, repaired and booted, against virt-v2v; and how soon a guest
# asks for a login whose disk is at a web server: out/bench-import.{json,svg}.
# BENCH_IMPORT='--runs 1 --parts first'. Root, an hour without KVM.
BENCH_IMPORT ?=
bench-import: setup build
	scripts/setup --bench
	go run ./bench/import --out out $(BENCH_IMPORT)

# Downloads in the user's cache directory stay.
clean:
	rm -rf bin out
