// The instant guest asks for metadata once, by hand, and ends with the first bytes of the answer.
package main

import (
	"os"
	"syscall"
)

func main() {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		os.Exit(2)
	}
	if err := syscall.Connect(s, &syscall.SockaddrInet4{Port: 80, Addr: [4]byte{169, 254, 169, 254}}); err != nil {
		os.Exit(3)
	}
	if _, err := syscall.Write(s, []byte("GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: instant/1\r\n\r\n")); err != nil {
		os.Exit(4)
	}
	answer := make([]byte, 4096)
	if n, _ := syscall.Read(s, answer); n < 12 || string(answer[9:12]) != "200" {
		os.Exit(5)
	}
}
