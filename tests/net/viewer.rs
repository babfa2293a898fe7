//! A small VNC program, as a teacher has one: up to the first picture, and what can be done from there.
//!
//! Source: RFC 6143.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use bramble::proto::rfb;
use bramble::sim::net::Machine;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// What [`look`] brings.
#[derive(Debug)]
pub struct View {
    pub stream: TcpStream,
    pub name: String,
    pub width: u16,
    pub height: u16,
}

/// What a VNC program does up to the first picture; or why there is none.
pub fn look(machine: &Machine, at: SocketAddrV4, password: &str) -> io::Result<View> {
    let mut stream = machine.run(|| TcpStream::connect(at))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = [0; 12];
    stream.read_exact(&mut said)?;
    assert_eq!(&said, b"RFB 003.008\n");
    stream.write_all(b"RFB 003.008\n")?;
    let mut kinds = [0; 2];
    stream.read_exact(&mut kinds)?;
    assert_eq!(kinds, [1, 2], "a password, and nothing else");
    stream.write_all(&[2])?;
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge)?;
    stream.write_all(&rfb::response(&challenge, password))?;
    let mut number = [0; 4];
    stream.read_exact(&mut number)?;
    if number != [0; 4] {
        stream.read_exact(&mut number)?;
        let mut why = vec![0; u32::from_be_bytes(number) as usize];
        stream.read_exact(&mut why)?;
        return Err(io::Error::other(String::from_utf8_lossy(&why).into_owned()));
    }
    stream.write_all(&[1])?;
    let mut screen = [0; 24];
    stream.read_exact(&mut screen)?;
    let [w, idth, h, eight, .., a, b, c, d] = screen;
    let mut name = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    stream.read_exact(&mut name)?;
    Ok(View {
        stream,
        name: String::from_utf8(name).expect("text"),
        width: u16::from_be_bytes([w, idth]),
        height: u16::from_be_bytes([h, eight]),
    })
}

#[allow(dead_code, reason = "only a real wayvnc has pictures and takes keys")]
impl View {
    /// A whole picture: red, green and blue of each point, line by line.
    pub fn picture(&mut self) -> io::Result<Vec<[u8; 3]>> {
        // Four bytes a point, red in the third: what is asked for is what is sent.
        let mut wish = vec![0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        // One encoding: the points as they are.
        wish.extend([2, 0, 0, 1, 0, 0, 0, 0]);
        wish.extend([3, 0, 0, 0, 0, 0]);
        wish.extend(self.width.to_be_bytes());
        wish.extend(self.height.to_be_bytes());
        self.stream.write_all(&wish)?;
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let mut points = vec![[0; 3]; width * height];
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[0], 0, "a picture");
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let mut part = [0; 12];
            self.stream.read_exact(&mut part)?;
            let number = |at: usize| usize::from(u16::from_be_bytes([part[at], part[at + 1]]));
            let (left, top, wide, high) = (number(0), number(2), number(4), number(6));
            assert_eq!(part[8..], [0; 4], "the points as they are");
            let mut bytes = vec![0; wide * high * 4];
            self.stream.read_exact(&mut bytes)?;
            for (n, point) in bytes.chunks_exact(4).enumerate() {
                points[(top + n / wide) * width + left + n % wide] = [point[2], point[1], point[0]];
            }
        }
        Ok(points)
    }

    /// Presses and lets go of a key, by its X11 number; that of a Latin letter is its own.
    pub fn key(&mut self, key: u32) -> io::Result<()> {
        for down in [1, 0] {
            self.stream.write_all(&[4, down, 0, 0])?;
            self.stream.write_all(&key.to_be_bytes())?;
        }
        Ok(())
    }
}
