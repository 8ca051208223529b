// Package job runs long operations as named steps whose progress outlives any
// process: a journal in the store says which steps are done, so that whoever
// takes the job up after a kill goes on where it stood, or undoes what was done.
//
// It may touch the bucket of jobs and, through package lease, that of leases.
// What the steps do is their own affair.
//
// What a job does to its record, which is its journal:
//
//	pending ──▶ running ──all steps done──▶ succeeded
//	               │  │
//	               │  └──Fail, after the point──▶ failed
//	  cancel, or a step fails for good
//	      before the point is done
//	               ▼
//	           unwinding ──all steps undone──▶ failed
//
// The steps of the record read the same in both directions: Done are the steps
// that are finished, Step is the next one, which may have acted. So on the way
// forward Step is done (again, after a kill), and on the way back it is undone
// (again) before the last of Done becomes Step.
//
// A step that must not be given up, after the point or on the way back, is tried for
// ever. What was away is tried again within seconds. What is refused, that is, fails in
// a way that another attempt does not mend, is so after ten times in a row taken to
// need somebody: the job is stuck, an event says it, and the attempts become up to half
// a minute apart, unless Manager.Nudge tells that something has changed. Nobody can end
// such a job from outside, since it alone knows on which side of the point the world is;
// once the cause is mended it goes on.
//
// A step is written into the journal before it begins. That is what makes the
// point of no return sharp: Cancel and the journal entry of the point's begin are
// compare-and-set writes of one key, so exactly one of them wins.
package job
