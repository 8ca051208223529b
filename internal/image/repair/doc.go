// Package repair says what an import has to change in a guest so that it runs here,
// and what will not work, before anything is copied: a plan, with the new contents of
// each file, so that who carries it out has nothing to decide.
//
// It reads the files of a guest through the tree it is given, and touches nothing
// else. Which files and programs serve which systems is data (data/*.yaml); small
// functions make new contents from old.
package repair
