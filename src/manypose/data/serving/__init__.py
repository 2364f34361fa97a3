"""Training samples over ZeroMQ: made by servers, on one machine or several, and read by trainers on any."""
