// Package imdstest gives a test an instance metadata service of its own, as net/http/httptest gives it
// an HTTP server: what an EC2 instance sees at 169.254.169.254, IMDSv1 and IMDSv2, in the test's own
// process. It is the service of openimds itself, so that clients get the bytes that AWS sends.
//
//	func TestConfigure(t *testing.T) {
//		srv := imdstest.New(t, imdstest.Instance{
//			ID:       "i-0123456789abcdef0",
//			Region:   "eu-central-1",
//			UserData: "mode=worker",
//		})
//		Configure()        // your program; an AWS SDK in it finds srv by itself
//		srv.RequireNoV1(t) // it must not have asked without a session token
//	}
//
// [New] also sets the environment that AWS's SDKs and tools read, for the time of the test. A test
// that runs in parallel with others cannot have an environment of its own: it calls [Start], and
// gives its client [Server.URL]:
//
//	srv := imdstest.Start(t, imdstest.Instance{})
//	client := imds.New(imds.Options{Endpoint: srv.URL})
//
// # What is served
//
// [Instance] says what the program is to see. What every instance has (an id, a type, a private
// address) is made up where it is left out; what only some instances have (a role, user data, a public
// address, tags) is absent where it is left out. [Instance.Values] and [Instance.Absent] change any
// other path. [Server.Instance] tells what became of it all.
//
// # Changes
//
// Methods such as [Server.SetOptions], [Server.Set], [Server.InterruptSpot] and [Server.SetFaults]
// change the instance as an operator does, and return when it is done: the very next request obeys.
// What cannot be done ends the test with one line, so they are called from the test's own goroutine.
//
// A program that changes options by EC2's API finds it at [Server.EC2].
//
// # Requests
//
// [Server.Requests] has every request that was answered, with the version of the protocol that it
// spoke. A client that has its answer finds its request there.
package imdstest
