"""HTTP and sockets; decides nothing itself."""
