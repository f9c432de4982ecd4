package openimds

import "context"

// GuestAnswer is what a guest would be answered.
type GuestAnswer struct {
	// Status is HTTP's; 0: nobody would answer.
	Status      int
	ContentType string
	Body        []byte
	// Listing says that Body is the listing of a directory.
	Listing bool
}

// GuestAnswers tells what the guests of instances would be answered.
type GuestAnswers interface {
	// Look answers GETs of paths ("latest/meta-data/ami-id") as the guest of the instance would be answered, by
	// version 1 or 2, and as if nobody had asked. The instance's recording must have been read.
	Look(in *Instance, v2 bool, paths ...string) ([]GuestAnswer, error)
}

// GuestSeats tells when the guests that one process serves obey a change.
type GuestSeats interface {
	// Await waits until the guest of the instance obeys its record of that revision, or a later one, or the context ends.
	// A guest that is not served here is not waited for.
	Await(ctx context.Context, instance string, revision int64) error
}
