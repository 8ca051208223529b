// Package image keeps the library of images that machines are made from.
//
// A Library may touch its own directory and nothing else. What it takes in is
// checked by volume.Inspect and never changes afterwards.
package image
