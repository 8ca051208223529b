// Package identify tells which operating system a disk holds.
//
// Tests look at the disk and give the testing vector. Identification vectors say
// what the tests give for each system; they are data, the YAML files in data/,
// so that a file alone adds a system. Match compares the two by a weighted
// distance. The package computes only: another one carries the tests out, and
// nothing outside is touched.
//
// One file describes a family:
//
//	distro: debian                       what its versions have in common
//	exact: [debian-version]              tests that give the exact version
//	tests:                               tests of its own, beside those of tests.yaml
//	  debian-version: {file: [/etc/debian_version], match: '^\S+'}
//	must: [{test: dpkg}]                 without these it is out
//	mustNot: [{test: os-release.id, is: '^ubuntu$'}]
//	features:                            what speaks for it, and how much
//	  - {test: debian-version, is: '^${version}(\.|$)', weight: 10}
//	versions:
//	  - {id: debian12, name: Debian 12, vars: {version: "12"}}
//
// With fallback: true they only name the kind of a system that is not known.
// A feature whose ${variable} a version does not have is left out for it.
package identify
