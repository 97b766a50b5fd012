//! What runs the gateway in containers: the image, the composition, the health check.

mod health;
